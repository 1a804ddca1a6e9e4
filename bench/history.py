"""`make bench-history`: what a learner waits for history to answer, after a million turns.

A PostgreSQL server is started and filled with a town's talks (`history_town`), and the service is
asked as its clients ask it: by RPC, with each learner's token. Lists and searches have to be
answered within `GOAL_MS` in 95 of 100 cases, for whoever practises most as well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc.aio
import jwt
import psycopg
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from sqlalchemy.engine import make_url

from bench.history_load import fill
from bench.history_plans import Plan, plans_of
from bench.history_town import (
    FREQUENT,
    FREQUENT_PHRASE,
    MIDDLING,
    NOWHERE,
    PHRASE,
    RARE,
    Learner,
    Town,
)
from bench.report import RESULTS, Spread, table, write
from parley.history.v1 import history_pb2 as pb
from parley.history.v1.history_pb2_grpc import HistoryServiceStub
from services.common.database import Database
from services.common.ids import new_id
from services.common.lifecycle import running
from services.common.migrations import migrate
from services.history.adapters.reader import SqlReader
from services.history.bootstrap import MIGRATIONS, bootstrap
from services.history.ports import ConversationFilter
from services.history.progress import quarters_around
from services.history.search import parse_query
from services.history.settings import HistorySettings
from tests.postgres import PostgresServer

GOAL_MS = 50.0
_JUDGED = ("list", "search")

_KINDS = {"heavy": 1, "steady": 20, "casual": 40}
"""How many learners of each kind are asked for."""

_YEAR = {"from_date": "2025-11-01", "to_date": "2026-10-31"}
_MONTH = {"from_date": "2026-10-01", "to_date": "2026-10-31"}

# Pages that somebody turns who looks for something old.
_PAGES = 10

_SEARCHES = {
    "search, frequent word": FREQUENT,
    "search, middling word": MIDDLING,
    "search, rare word": RARE,
    "search, word of nobody": NOWHERE,
    "search, phrase": f'"{PHRASE}"',
    "search, frequent phrase": f'"{FREQUENT_PHRASE}"',
    "search, two words": f"{FREQUENT} {MIDDLING}",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a method of the contract's, and its request."""

    name: str
    method: str
    request: Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 where the goal is missed or a whole table was read."""
    parser = argparse.ArgumentParser(description="Time what history answers.")
    parser.add_argument("--turns", type=int, default=1_000_000, help="in the whole town")
    parser.add_argument("--calls", type=int, default=100, help="of each kind of question")
    parser.add_argument("--seed", type=int, default=1, help="of the town")
    chosen = parser.parse_args(arguments)
    # Every search is noted for whoever audits: here nobody does.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="bench-history-") as folder, _database() as url:
        settings = HistorySettings(
            data_dir=Path(folder), port=0, metrics_port=0, postgresql_url=url, rate_limits=False
        )
        town = Town(chosen.turns, chosen.seed)
        asyncio.run(migrate(settings.database_url, MIGRATIONS))
        _fill(settings.database_url, town, chosen.turns)
        size_mib = _size_mib(url)
        times, plans = asyncio.run(_measure(settings, town, chosen.calls, chosen.seed))
    spreads = {each: Spread.of(values) for each, values in times.items()}
    _show(spreads, chosen.turns, size_mib)
    written = _write_plans(plans)
    late, whole = verdict(spreads, plans)
    write(
        "history",
        {
            "turns": chosen.turns,
            "seed": chosen.seed,
            "database_mib": size_mib,
            "learners": {
                kind: {"learners": len(town.of(kind)), "turns_each": town.of(kind)[0].turns}
                for kind in _KINDS
            },
            "answers": {
                f"{kind}: {name}": spread.fields() for (name, kind), spread in spreads.items()
            },
            "goal_p95_ms": GOAL_MS,
            "late": late,
            "read_whole": whole,
            "plans": written.name,
        },
    )
    for told in (*late, *whole):
        print(told, file=sys.stderr)
    return int(bool(late or whole))


def verdict(
    spreads: Mapping[tuple[str, str], Spread], plans: Mapping[str, Sequence[Plan]]
) -> tuple[list[str], list[str]]:
    """Return what was answered too late, and what had a large table read from its beginning."""
    late = [
        f"{kind}: {name}: p95 {spread.p95:.1f} ms; the goal is {GOAL_MS:.0f} ms"
        for (name, kind), spread in spreads.items()
        if name.startswith(_JUDGED) and not spread.p95 <= GOAL_MS
    ]
    whole = [
        f"{name}: read from beginning to end: {', '.join(sorted(plan.whole_tables))}"
        for name, some in plans.items()
        for plan in some
        if plan.whole_tables
    ]
    return late, whole


@contextmanager
def _database() -> Iterator[str]:
    with PostgresServer.start() as server, server.database() as url:
        yield make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _fill(url: str, town: Town, turns: int) -> None:
    columns = ("filling", BarColumn(), MofNCompleteColumn(), "turns", TimeElapsedColumn())
    with Progress(*columns) as progress:
        filling = progress.add_task("filling", total=turns)
        fill(url, town, lambda more: progress.advance(filling, more))


def _size_mib(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert found is not None
    return int(found[0]) // 2**20


async def _measure(
    settings: HistorySettings, town: Town, calls: int, seed: int
) -> tuple[dict[tuple[str, str], list[float]], dict[str, list[Plan]]]:
    tokens = _Tokens(Path(settings.data_dir))
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    chance = random.Random(seed)
    async with (
        running("history", settings, bootstrap) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        stub: Any = HistoryServiceStub(channel)

        async def ask(learner: Learner, method: str, request: Any) -> Any:
            metadata = tokens.of(learner)
            return await getattr(stub, method)(request, metadata=metadata)

        rounds: list[tuple[str, Learner, Question]] = []
        for kind, most in _KINDS.items():
            asked = town.of(kind)[:most]
            # Asking for what is asked later is the warm-up as well: who opens a page again
            # finds it in the server's memory, and so does who looks for another word.
            questions = {each: await _questions(each, ask) for each in asked}
            for call in range(calls):
                learner = asked[call % len(asked)]
                rounds += [(kind, learner, question) for question in questions[learner]]
        chance.shuffle(rounds)
        # As the services do before they serve: a look through all that was loaded stops them.
        gc.collect()
        gc.freeze()
        for kind, learner, question in rounds:
            began = time.perf_counter()
            await ask(learner, question.method, question.request)
            times[question.name, kind].append(1000 * (time.perf_counter() - began))
    async with Database.open(settings.database_url) as database:
        plans = await explained(database, town.of("heavy")[0].user_id)
    order = {name: place for place, (name, _) in enumerate(times)}
    ordered = sorted(times, key=lambda each: (list(_KINDS).index(each[1]), order[each[0]]))
    return {each: times[each] for each in ordered}, plans


async def _questions(
    learner: Learner, ask: Callable[[Learner, str, Any], Awaitable[Any]]
) -> list[Question]:
    """Return all that this learner will ask."""
    first = await ask(learner, "ListConversations", pb.ListConversationsRequest())
    questions = [
        Question("list", "ListConversations", pb.ListConversationsRequest()),
        Question(
            "list, one situation",
            "ListConversations",
            pb.ListConversationsRequest(scenario_id="doctor"),
        ),
        Question(
            "open",
            "GetConversation",
            pb.GetConversationRequest(conversation_id=first.conversations[-1].conversation_id),
        ),
        Question(
            "progress, 31 days", "GetProgress", pb.GetProgressRequest(time_zone="UTC", **_MONTH)
        ),
        Question(
            "progress, a year",
            "GetProgress",
            pb.GetProgressRequest(time_zone="Europe/Madrid", **_YEAR),
        ),
        Question("mistakes", "ListMistakes", pb.ListMistakesRequest()),
    ]
    questions += [
        Question(name, "SearchTurns", pb.SearchTurnsRequest(query=query))
        for name, query in _SEARCHES.items()
    ]
    for name, method, request in (
        ("list, tenth page", "ListConversations", pb.ListConversationsRequest()),
        ("search, tenth page", "SearchTurns", pb.SearchTurnsRequest(query=FREQUENT)),
    ):
        for _ in range(_PAGES - 1):
            token = (await ask(learner, method, request)).next_page_token
            if not token:
                break
            request.page_token = token
        questions.append(Question(name, method, request))
    for question in questions:
        await ask(learner, question.method, question.request)
    return questions


async def explained(database: Database, user_id: str) -> dict[str, list[Plan]]:
    """Return how the database answers a learner's questions."""
    begin, end = quarters_around(*(_date(each) for each in _YEAR.values()))

    def search(text: str) -> Callable[[SqlReader], Awaitable[object]]:
        return lambda reader: reader.search(user_id, parse_query(text), None, 21)

    asked: dict[str, Callable[[SqlReader], Awaitable[object]]] = {
        "list": lambda reader: reader.conversations(ConversationFilter(user_id), None, 21),
        **{name: search(text) for name, text in _SEARCHES.items()},
        "progress, the days": lambda reader: reader.practice(user_id, begin, end),
        "progress, ever": lambda reader: reader.practice_days(user_id),
        "progress, conversations": lambda reader: reader.count(user_id),
        "mistakes": lambda reader: reader.mistakes(user_id, 0, (), 21),
    }
    return {name: await plans_of(database, ask) for name, ask in asked.items()}


def _date(text: str) -> Any:
    return datetime.fromisoformat(text).date()


def _show(spreads: Mapping[tuple[str, str], Spread], turns: int, size_mib: int) -> None:
    table(
        f"Answers of history with {turns:,} turns ({size_mib:,} MiB), ms",
        ["question", "learner", "p50", "p95", "p99", "count"],
        [
            [
                *(name, kind, f"{spread.p50:.1f}", f"{spread.p95:.1f}", f"{spread.p99:.1f}"),
                str(spread.count),
            ]
            for (name, kind), spread in spreads.items()
        ],
    )


def _write_plans(plans: Mapping[str, Sequence[Plan]]) -> Path:
    """Print the plans, and write them beside the results."""
    told = "\n\n".join(
        f"== {name}\n{plan.statement}\n\n{plan.text}"
        for name, some in plans.items()
        for plan in some
    )
    print(told)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "history-plans.txt"
    path.write_text(f"{told}\n", "utf-8")
    return path


class _Tokens:
    """Access tokens of learners whom no user service knows, by a key that history believes."""

    def __init__(self, data_dir: Path) -> None:
        self._key = Ed25519PrivateKey.generate()
        jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self._key.public_key()))
        (data_dir / "keys").mkdir()
        known = {"keys": [jwk | {"kid": "bench", "use": "sig", "alg": "EdDSA"}]}
        (data_dir / "keys" / "jwks.json").write_text(json.dumps(known))
        self._made: dict[str, str] = {}

    def of(self, learner: Learner) -> list[tuple[str, str]]:
        """Return the metadata of the learner's calls."""
        if learner.user_id not in self._made:
            now = int(time.time())
            claims = {"iss": "parley", "aud": "parley", "sub": learner.user_id, "sid": new_id()}
            lasting = {"iat": now, "exp": now + 3600, "jti": new_id()}
            self._made[learner.user_id] = jwt.encode(
                claims | lasting,
                self._key,
                algorithm="EdDSA",
                headers={"typ": "at+jwt", "kid": "bench"},
            )
        return [("authorization", f"Bearer {self._made[learner.user_id]}")]


if __name__ == "__main__":
    sys.exit(main())
