"""`make bench-history` in small: the same town, tables and questions, with a few thousand turns."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bench import history_load
from bench.history import explained, verdict
from bench.history_plans import Plan
from bench.history_town import FREQUENT, PHRASE, Town
from bench.report import Spread
from services.common.clock import ManualClock
from services.common.database import Database
from services.common.migrations import migrate
from services.common.outbox import Outbox
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import OutboxRow
from services.history.bootstrap import MIGRATIONS
from services.history.ports import ConversationFilter
from services.history.recounting import recount
from services.history.search import parse_query
from tests.postgres import empty_database

TURNS = 4_000

_BY_INDEX = "options=-cenable_seqscan%3Doff%20-cenable_sort%3Doff"


@pytest.fixture(scope="module")
def filled(postgres_url: str) -> Iterator[tuple[str, Town]]:
    with empty_database(postgres_url) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_load, "_TALKS_AT_ONCE", 50)
        asyncio.run(migrate(url, MIGRATIONS))
        town = Town(TURNS, seed=1)
        stored: list[int] = []
        history_load.fill(url, town, stored.append)
        assert sum(stored) == TURNS
        yield url, town


async def test_every_question_is_answered_by_an_index(filled: tuple[str, Town]) -> None:
    """However many turns others have: nothing large need be read from its beginning to its end.

    Tables as small as these are cheaper to read whole and to sort, so the planner may not.
    """
    url, town = filled
    async with Database.open(f"{url}?{_BY_INDEX}") as database:
        plans = await explained(database, town.of("heavy")[0].user_id)
    assert verdict({}, plans) == ([], [])
    searches = [plan for name, some in plans.items() if "search" in name for plan in some]
    assert any("ix_search_index_words" in plan.text for plan in searches)
    (listed,) = plans["list"]
    assert "ix_conversations_page" in listed.text
    assert "Sort" not in listed.text


async def test_the_town_is_stored_as_the_service_would_have(filled: tuple[str, Town]) -> None:
    url, town = filled
    (heavy,) = town.of("heavy")
    async with Database.open(url) as database:
        store = SqlStore(database, Outbox(OutboxRow, ManualClock()), ManualClock())

        async def seen() -> Any:
            async with store.reading() as state:
                return (
                    sorted(map(repr, await state.practice(heavy.user_id, 0, 2**31 - 1))),
                    await state.conversations(ConversationFilter(heavy.user_id), None, 1_000),
                    len(await state.search(heavy.user_id, parse_query(FREQUENT), None, 5_000)),
                )

        before = await seen()
        assert sum(each.totals.turns for each in before[1]) == heavy.turns
        assert before[2] > heavy.turns
        await recount(store)
        after = await seen()
        assert (after[0], after[2]) == (before[0], before[2])


def test_the_same_seed_makes_the_same_town() -> None:
    first, again, other = (list(Town(400, seed).talks()) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sum(len(talk.turns) for talk in first) == 400
    assert [talk.started_at for talk in first] == sorted(talk.started_at for talk in first)
    said = [turn.said for talk in first for turn in talk.turns]
    assert any(FREQUENT in each.split() for each in said)
    assert sum(PHRASE in each for each in said) < 20


@pytest.mark.parametrize(
    ("name", "p95", "late"),
    [("list", 50.0, 0), ("list", 50.1, 1), ("search, x", 51, 1), ("open", 99, 0)],
)
def test_lists_and_searches_are_judged(name: str, p95: float, late: int) -> None:
    spread = Spread(1, 1, p95, p95, 1, p95, 100)
    assert len(verdict({(name, "heavy"): spread}, {})[0]) == late


def test_a_large_table_that_was_read_whole_is_named() -> None:
    small = Plan("SELECT", "Seq Scan on search_segments  (cost=0.00..1.01)")
    large = Plan("SELECT", "->  Parallel Seq Scan on turns  (cost=0.00..99.01)")
    late, whole = verdict({}, {"a": [small], "b": [small, large]})
    assert not late
    assert whole == ["b: read from beginning to end: turns"]
