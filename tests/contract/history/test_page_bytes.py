"""How many bytes a page of turns has."""

import pytest

from parley.history.v1 import history_pb2 as pb
from tests.contract.history.conftest import History, Tell


async def test_a_page_has_so_many_bytes_and_a_turn_that_is_more_begins_the_next(
    history: History, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tell()
    await history.ingest(told.started(), *(told.turn(number, "said", "hi") for number in (1, 2)))
    whole = await history.ask(
        "GetConversation", pb.GetConversationRequest(conversation_id=told.conversation_id)
    )
    size = sum(each.turn.ByteSize() for each in whole.turns)
    for most, numbers in ((size, [1, 2]), (size - 1, [1])):
        monkeypatch.setattr("services.history.application.PAGE_BYTES", most)
        request = pb.GetConversationRequest(conversation_id=told.conversation_id)
        page = await history.ask("GetConversation", request)
        assert [each.turn.number for each in page.turns] == numbers
        assert bool(page.next_page_token) is (len(numbers) == 1)
    request.page_token = page.next_page_token
    page = await history.ask("GetConversation", request)
    assert [each.turn.number for each in page.turns] == [2]
