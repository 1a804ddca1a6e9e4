"""How the database answers: the plans of what the service really asks."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from services.common.database import Database
from services.history.adapters.reader import SqlReader

# Tables that grow with every turn: to read one from its beginning to its end is no way to find.
_LARGE = frozenset(
    {"conversations", "turns", "practice", "search_texts", "search_index", "mistakes", "feedback"}
)
_SEQUENTIAL = re.compile(r"Seq Scan on (\w+)")


@dataclass(frozen=True, slots=True)
class Plan:
    """One statement, and how it was answered: `EXPLAIN (ANALYZE, BUFFERS)` of it."""

    statement: str
    text: str

    @property
    def whole_tables(self) -> set[str]:
        """The large tables that were read from beginning to end."""
        return set(_SEQUENTIAL.findall(self.text)) & _LARGE


async def plans_of(database: Database, ask: Callable[[SqlReader], Awaitable[object]]) -> list[Plan]:
    """Return the plans of all statements that `ask` has the database answer."""
    async with database.snapshot() as session:
        connection = await session.connection()
        with _heard(session) as statements:
            await ask(SqlReader(session))
        plans = []
        for statement, parameters in statements:
            explained = await connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters
            )
            plans.append(Plan(statement, "\n".join(line for (line,) in explained)))
    return plans


@contextmanager
def _heard(session: AsyncSession) -> Iterator[list[tuple[str, Any]]]:
    """Note what is sent to the database meanwhile."""
    statements: list[tuple[str, Any]] = []
    engine = session.get_bind().engine

    def note(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
