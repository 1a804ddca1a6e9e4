"""Mistakes, page by page, while corrections come and conversations go: each of them once."""

import base64
import random
from datetime import UTC, datetime, timedelta

import pytest
from buf.validate import validate_pb2

from parley.history.v1 import history_pb2 as pb
from services.common.errors import InvalidArgument
from services.common.ids import new_id
from services.history import application, page_tokens
from services.history.application import History
from services.history.conversations import mistake_mark
from services.history.events import Assessed, Envelope, FoundMistake
from tests.unit.history.conftest import Copies, opened

BEGAN = datetime(2026, 5, 1, tzinfo=UTC)
USER = new_id()


class Corrector:
    """Makes corrections, each a minute after the one before."""

    def __init__(self) -> None:
        self._minutes = 0

    def found(self, conversation_id: str, *keys: str, turn_id: str = "", kind: int = 1) -> Assessed:
        self._minutes += 1
        at = BEGAN + timedelta(minutes=self._minutes)
        envelope = Envelope(new_id(), conversation_id, USER, at, "assessed")
        mistakes = tuple(FoundMistake(kind, key, key.encode()) for key in keys)
        return Assessed(envelope, turn_id or new_id(), mistakes, b"feedback")


async def rest(history: History, token: str, size: int = 2) -> list[str]:
    """Return the keys of all pages that follow."""
    keys: list[str] = []
    while token:
        page = await history.mistakes(USER, 0, size, token)
        keys += [each.key for each in page.mistakes]
        token = page.next_page_token
    return keys


async def test_a_mistake_that_becomes_rarer_or_more_frequent_between_pages_comes_once(
    copies: Copies,
) -> None:
    async with opened(copies) as (history, _):
        made, kept, gone = Corrector(), new_id(), new_id()
        await history.ingest([made.found(kept, "A"), *(made.found(gone, "A") for _ in range(3))])
        await history.ingest([made.found(kept, key) for key in "BBBCCD"])
        page = await history.mistakes(USER, 0, 2, "")
        assert [each.key for each in page.mistakes] == ["A", "B"]
        await history.delete(USER, gone)
        await history.ingest([made.found(kept, "C") for _ in range(3)])
        assert await rest(history, page.next_page_token) == ["C", "D"]


async def test_every_mistake_comes_once_whatever_happens_between_the_pages(copies: Copies) -> None:
    """Whatever was there all the time comes, and nothing comes twice."""
    async with opened(copies) as (history, _):
        made, chance = Corrector(), random.Random(1)
        steady, talks = new_id(), [new_id() for _ in range(6)]
        lasting = [f"lasting {each}" for each in range(9)]
        turn_id = new_id()
        events = [made.found(steady, *lasting, turn_id=turn_id)]
        for talk in talks:
            for _ in range(4):
                some = chance.sample(lasting, 3)
                events.append(made.found(talk, *some, f"passing {chance.randrange(5)}"))
        await history.ingest(events)
        keys: list[str] = []
        token, pages = "", 0
        while True:
            page = await history.mistakes(USER, 0, 2, token)
            keys += [each.key for each in page.mistakes]
            token, pages = page.next_page_token, pages + 1
            if not token:
                break
            # Assessed again, in other words: its corrections are other rows.
            await history.ingest([made.found(steady, *reversed(lasting), turn_id=turn_id)])
            await history.ingest([made.found(steady, *chance.sample(lasting, 2))])
            if talks:
                await history.delete(USER, talks.pop())
        assert pages > 4
        assert len(set(keys)) == len(keys)
        assert set(keys) >= set(lasting)


async def test_one_key_of_two_kinds_is_two_mistakes(copies: Copies) -> None:
    async with opened(copies) as (history, _):
        made, talk = Corrector(), new_id()
        await history.ingest([made.found(talk, "A", kind=kind) for kind in (1, 2)])
        page = await history.mistakes(USER, 0, 1, "")
        assert await rest(history, page.next_page_token) == ["A"]
        assert not (await history.mistakes(USER, 2, 1, "")).next_page_token


async def test_behind_the_most_frequent_all_others_come_once(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "MOST_FREQUENT", 3)
    async with opened(copies) as (history, _):
        made, talk = Corrector(), new_id()
        others = [(kind, f"{each}") for kind in (1, 2) for each in range(4)]
        await history.ingest([made.found(talk, key, kind=kind) for kind, key in others])
        await history.ingest([made.found(talk, *"ABC") for _ in range(2)])
        page = await history.mistakes(USER, 0, 5, "")
        assert {each.key for each in page.mistakes} == set("ABC")
        found: list[tuple[int, str]] = []
        while page.next_page_token:
            page = await history.mistakes(USER, 0, 3, page.next_page_token)
            found += [(each.kind, each.key) for each in page.mistakes]
            # Made again and again: neither those that came nor those that will change their places.
            await history.ingest([made.found(talk, *"0A3", kind=2) for _ in range(3)])
            await history.ingest([made.found(talk, "0", kind=1) for _ in range(9)])
        # What came to be meanwhile, behind the place that was reached, may come as well.
        assert sorted(found) == sorted([*others, (2, "A")])


async def test_the_last_of_the_most_frequent_ends_the_list_where_there_are_no_others(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "MOST_FREQUENT", 3)
    async with opened(copies) as (history, _):
        await history.ingest([Corrector().found(new_id(), *"ABC")])
        page = await history.mistakes(USER, 0, 3, "")
        assert len(page.mistakes) == 3
        assert page.next_page_token == ""


BAD_MARKS = ["x", "AAAA", "é", "AAAAAA=", "A" * 8 * 5_000]
BAD_TOKENS = [
    *((marks, 0, "") for marks in BAD_MARKS),
    ("", -1, ""),
    ("", 2**31, ""),
    ("", 1, "\x00"),
    ("", 1, "\ud800"),
]


@pytest.mark.parametrize("position", BAD_TOKENS)
async def test_a_token_that_lists_no_mistakes_is_refused(
    copies: Copies, position: tuple[str, int, str]
) -> None:
    asked = page_tokens.question("mistakes", USER, 0)
    async with opened(copies) as (history, _):
        with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
            await history.mistakes(USER, 0, 0, page_tokens.encode(asked, *position))


def test_the_longest_token_is_one_that_the_contract_takes() -> None:
    field = pb.ListMistakesRequest.DESCRIPTOR.fields_by_name["page_token"]
    most = field.GetOptions().Extensions[validate_pb2.field].string.max_len
    marks = base64.b64encode(mistake_mark(1, "A") * application.MOST_FREQUENT).decode()
    asked = page_tokens.question("mistakes", USER, 0)
    assert len(page_tokens.encode(asked, marks, 99, "f" * 64)) <= most
