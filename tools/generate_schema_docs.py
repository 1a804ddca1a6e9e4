"""Generate `docs/schema.md` from the SQLAlchemy models, or check that it is current.

    python -m tools.generate_schema_docs [--check]

Every service's tables are those of `services/<name>/adapters/tables.py`; what a table is for is
its class's docstring.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Iterator

from sqlalchemy import CheckConstraint, Column, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeEngine

from tools.pages import ROOT, settle

PAGE = ROOT / "docs" / "schema.md"

INTRODUCTION = """\
# Tables

<!-- Generated from the models by `make docs`; edit their docstrings instead. -->

Each service has a database of its own and is asked through its RPCs alone; ids of another service
are values here, never foreign keys. The ai service stores nothing. Types are PostgreSQL's; SQLite
has its own for them, in brackets where the name differs much. Revisions are in
`services/<name>/migrations`; a test of each service compares them with the models.
"""

# SQLAlchemy's own constructor of the first has no types.
_POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_SQLITE: Dialect = sqlite.dialect()

HEADER = "| column | type | |\n|---|---|---|\n"


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description="Generate docs/schema.md.")
    parser.add_argument("--check", action="store_true", help="only compare; write nothing")
    return settle({PAGE: page()}, check=parser.parse_args().check)


def page() -> str:
    """Return the whole page."""
    sections = [INTRODUCTION]
    for path in sorted(ROOT.glob("services/*/adapters/tables.py")):
        service = path.parts[-3]
        module = importlib.import_module(f"services.{service}.adapters.tables")
        sections.append(f"## {service}\n")
        about = inspect.cleandoc(module.__doc__ or "").partition("\n\n")[2]
        if about:
            sections.append(f"{about}\n")
        sections.extend(section(row) for row in models(module.Base))
    return "\n".join(sections)


def models(base: type[DeclarativeBase]) -> Iterator[type[DeclarativeBase]]:
    """Yield the models of a service in the order of their tables' names."""
    mapped = (mapper.class_ for mapper in base.registry.mappers)
    yield from sorted(mapped, key=lambda row: row.__table__.name)


def section(row: type[DeclarativeBase]) -> str:
    """Return the section of one table."""
    table = row.__table__
    assert isinstance(table, Table)
    about = inspect.cleandoc(row.__doc__ or "")
    rows = "".join(f"{line(column)}\n" for column in table.columns)
    below = "".join(f"- {each}\n" for each in beside(table))
    return f"### {table.name}\n\n{about}\n\n{HEADER}{rows}" + (f"\n{below}" if below else "")


def line(column: Column[object]) -> str:
    """Return the row of one column."""
    marks = []
    if column.primary_key:
        marks.append("primary key")
    elif not column.nullable:
        marks.append("not null")
    if column.unique:
        marks.append("unique")
    marks += [f"references {each.target_fullname}" for each in column.foreign_keys]
    cells = [f"`{column.name}`", type_of(column.type), ", ".join(marks)]
    return "| " + " | ".join(cells) + " |"


def type_of(kind: TypeEngine[object]) -> str:
    """Return a column's type, with SQLite's where that is another word."""
    theirs = kind.compile(dialect=_POSTGRESQL)
    ours = kind.compile(dialect=_SQLITE)
    same = theirs.split("(")[0].split()[0] == ours.split("(")[0].split()[0]
    return f"{theirs.lower()}" if same else f"{theirs.lower()} [{ours.lower()}]"


def beside(table: Table) -> Iterator[str]:
    """Yield the table's indexes and constraints that no column shows."""
    for constraint in sorted(table.constraints, key=lambda each: str(each.name)):
        if isinstance(constraint, UniqueConstraint) and len(constraint.columns) > 1:
            yield "unique: " + ", ".join(f"`{each.name}`" for each in constraint.columns)
        elif isinstance(constraint, CheckConstraint):
            yield f"check: `{constraint.sqltext}`"
    for index in sorted(table.indexes, key=lambda each: str(each.name)):
        expressions = ", ".join(
            f"`{each.name if isinstance(each, Column) else each}`" for each in index.expressions
        )
        yield f"{'unique index' if index.unique else 'index'}: {expressions}"


if __name__ == "__main__":
    sys.exit(main())
