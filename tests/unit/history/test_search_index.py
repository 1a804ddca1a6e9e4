"""The search index over real databases of each kind: in windows, by position, and no one else's."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common.clock import ManualClock
from services.common.database import Database
from services.common.errors import InvalidArgument
from services.common.ids import new_id
from services.common.outbox import Outbox
from services.history import page_tokens
from services.history.adapters import search_index, search_segments
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import OutboxRow
from services.history.application import History
from services.history.events import Envelope, TurnFinished
from services.history.recounting import recount
from tests.unit.history.conftest import Copies, opened

BEGAN = datetime(2026, 5, 1, tzinfo=UTC)
USER = new_id()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill many segments and windows with few texts."""
    monkeypatch.setattr(search_segments, "TEXTS", 4)
    monkeypatch.setattr(search_index, "RANKED_TOGETHER", 6)
    monkeypatch.setattr(search_index, "_MOST_IN_WINDOW", 14)


def turn(conversation_id: str, number: int, said: str, user_id: str = USER) -> TurnFinished:
    at = BEGAN + timedelta(seconds=number)
    return TurnFinished(
        Envelope(new_id(), conversation_id, user_id, at, "turn"),
        turn_id=new_id(),
        number=number,
        started_at=at,
        learner_text=said,
        tutor_text="",
        words=len(said.split()),
        speech_ms=1000,
        silence_ms=None,
        body=b"turn",
    )


async def found(history: History, query: str, size: int = 3, user_id: str = USER) -> list[int]:
    """Return the numbers of all turns that are found, page by page."""
    numbers: list[int] = []
    token = ""
    while True:
        page = await history.search(user_id, query, size, token)
        assert len(page.matches) == size or not page.next_page_token
        numbers += [each.number for each in page.matches]
        token = page.next_page_token
        if not token:
            return numbers


async def segments(database: Database) -> list[Any]:
    async with database.snapshot() as session:
        rows = (await session.connection()).exec_driver_sql
        wanted = "SELECT user_id, texts FROM search_segments ORDER BY segment_id"
        return [tuple(each) for each in await rows(wanted)]


async def test_every_match_comes_once_over_the_pages_of_many_windows(copies: Copies) -> None:
    async with opened(copies) as (history, database):
        conversation = new_id()
        words = {number: "apple" if number % 3 else "pear" for number in range(1, 60)}
        words[2] = words[50] = "apple apple plum"
        # Others' texts lie between.
        others = (turn(new_id(), number, "apple plum", new_id()) for number in itertools.count(1))
        own = (turn(conversation, number, said) for number, said in words.items())
        await history.ingest([each for pair in zip(own, others, strict=False) for each in pair])
        assert [texts for user_id, texts in await segments(database) if user_id == USER] == (
            [4] * 14 + [3]
        )
        for query, size in itertools.product(
            ("apple", "pear", "plum", '"apple plum"', "apple apple", '"plum apple"'), (2, 3, 100)
        ):
            expected = [
                number
                for number, said in words.items()
                if (query.strip('"') in said if '"' in query else query.split()[0] in said)
            ]
            numbers = await found(history, query, size)
            assert sorted(numbers) == expected, (query, size)
        # Newest windows first.
        for size in (1, 4):
            assert (await found(history, "pear", size))[:2] == [57, 54]


async def test_the_better_match_comes_first_among_those_ranked_together(copies: Copies) -> None:
    async with opened(copies) as (history, _):
        conversation = new_id()
        texts = ["plum plum plum", "plum and other words that are about something else", "pear"]
        for number, said in enumerate(texts, 1):
            await history.ingest([turn(conversation, number, said)])
        assert await found(history, "plum") == [1, 2]


@pytest.mark.parametrize("others", ["I ate an apple", "no fruit, but a good deal of all the rest"])
async def test_what_is_said_between_two_pages_doubles_and_hides_nothing(
    copies: Copies, others: str
) -> None:
    """By the learner and by others: their words weigh on no match of the learner's."""
    texts = ("apple", "I like apple pie", "apple, apple and a pear", "one apple a day, they say")
    async with opened(copies) as (history, _):
        conversation, stranger, theirs = new_id(), new_id(), new_id()
        said = [turn(conversation, number, texts[number % 4]) for number in range(1, 31)]
        await history.ingest(said)
        numbers: list[int] = []
        token, later = "", 31
        while True:
            page = await history.search(USER, "apple", 4, token)
            numbers += [each.number for each in page.matches]
            token = page.next_page_token
            if not token:
                break
            own = turn(conversation, later, texts[later % 4])
            await history.ingest([own, turn(theirs, later, others, stranger)])
            later += 1
        old = [number for number in numbers if number <= 30]
        assert sorted(old) == list(range(1, 31))
        assert len(set(numbers)) == len(numbers)


async def test_what_is_deleted_between_two_pages_hides_nothing_else(copies: Copies) -> None:
    async with opened(copies) as (history, _):
        kept, gone, long_gone = new_id(), new_id(), new_id()
        await history.ingest([turn(long_gone, number, "an apple") for number in range(1, 8)])
        for number in range(1, 16):
            said = "apple " * (1 + number % 3) + "pie"
            await history.ingest([turn(kept, number, said), turn(gone, number, said)])
        shown: list[Any] = []
        token = ""
        while True:
            page = await history.search(USER, "apple", 3, token)
            shown += [each.number for each in page.matches if each.conversation_id == kept]
            token = page.next_page_token
            if not token:
                break
            for conversation in (gone, long_gone):
                await history.delete(USER, conversation)
        assert sorted(shown) == list(range(1, 16))


async def test_a_deleted_conversations_texts_leave_their_segments(copies: Copies) -> None:
    async with opened(copies) as (history, database):
        first, second = new_id(), new_id()
        await history.ingest([turn(first, number, "apple") for number in range(1, 6)])
        await history.ingest([turn(second, 1, "apple")])
        assert [texts for _, texts in await segments(database)] == [4, 2]
        await history.delete(USER, first)
        assert [texts for _, texts in await segments(database)] == [1]
        assert await found(history, "apple") == [1]
        await history.erase_user(USER)
        assert await segments(database) == []


async def test_recounting_indexes_what_was_indexed_by_other_words(copies: Copies) -> None:
    """As an earlier version cut and folded them."""
    async with opened(copies) as (history, database):
        talk = new_id()
        await history.ingest([turn(talk, number, "काल apple") for number in range(1, 6)])
        before = await segments(database)
        async with database.transaction() as session:
            await (await session.connection()).exec_driver_sql("DELETE FROM search_index")
        assert await found(history, "काल") == []
        clock = ManualClock()
        assert await recount(SqlStore(database, Outbox(OutboxRow, clock), clock)) == 1
        assert sorted(await found(history, "काल")) == [1, 2, 3, 4, 5]
        assert await segments(database) == before


async def test_a_turn_told_again_is_found_by_its_new_words_where_it_was(copies: Copies) -> None:
    async with opened(copies) as (history, database):
        conversation = new_id()
        first = turn(conversation, 1, "I goed")
        await history.ingest([first, turn(conversation, 2, "and then")])
        again = turn(conversation, 1, "I went")
        told = {name: getattr(again, name) for name in again.__slots__}
        later = Envelope(new_id(), conversation, USER, BEGAN + timedelta(hours=1), "turn")
        told |= {"turn_id": first.turn_id, "envelope": later, "tutor_text": "Oh"}
        await history.ingest([TurnFinished(**told)])
        assert await found(history, "goed") == []
        assert await found(history, "went") == [1]
        assert await found(history, "oh") == [1]
        assert [texts for _, texts in await segments(database)] == [3]


async def test_words_that_differ_in_their_vowel_signs_are_not_found_for_each_other(
    copies: Copies,
) -> None:
    async with opened(copies) as (history, _):
        texts = ["कुल दिन", "काल दीन", "कल", "กินข้าว", "กานข้าว", "đường phố", "قَلَم"]
        talk = new_id()
        await history.ingest([turn(talk, number, said) for number, said in enumerate(texts, 1)])
        wanted = {"कुल": [1], "काल": [2], "कल": [3], '"काल दीन"': [2], "กิน": [4], "ข้าว": [4, 5]}
        wanted |= {"duong": [6], "قلم": [7], "क": [], "काल कुल": []}
        for query, numbers in wanted.items():
            assert sorted(await found(history, query)) == numbers, query


async def test_a_word_longer_than_the_index_takes_is_stored_and_found(copies: Copies) -> None:
    """PostgreSQL refuses lexemes of 2 KB: the turn would have been laid aside for good."""
    async with opened(copies) as (history, _):
        word = "ha" * 4_000
        await history.ingest([turn(new_id(), 1, f"so {word} indeed")])
        assert await found(history, word[:200]) == [1]
        assert await found(history, f'"so {word} indeed"') == [1]


async def test_a_forged_position_is_refused_or_shows_nothing_of_others(copies: Copies) -> None:
    async with opened(copies) as (history, _):
        other = new_id()
        await history.ingest([turn(new_id(), number, "apple", other) for number in range(1, 9)])
        await history.ingest([turn(new_id(), 1, "apple")])
        asked = page_tokens.question("search", USER, (("apple",),))
        for worth in ("nan", "inf", "-inf", "x", "0x1p99999"):
            token = page_tokens.encode(asked, 9, 0, worth, 1)
            with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
                await history.search(USER, "apple", 0, token)
        token = page_tokens.encode(asked, 2**62, 0, float(9).hex(), 0)
        page = await history.search(USER, "apple", 0, token)
        assert [each.number for each in page.matches] == [1]
