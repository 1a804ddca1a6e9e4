"""A deleted account leaves nothing in history."""

import pytest

from parley.history.v1 import history_pb2 as pb
from services.common.ids import new_id
from tests.contract.history.conftest import History, Tell


async def erase(history: History, user_id: str, caller: str = "user") -> pb.EraseUserResponse:
    request = pb.EraseUserRequest(user_id=user_id)
    answer: pb.EraseUserResponse = await history.stub.EraseUser(
        request, metadata=history.callers.service(caller)
    )
    return answer


async def test_everything_of_the_user_goes_and_nothing_of_another(history: History, tell: Tell):
    other = new_id()
    # More than a batch.
    for user_id, count in ((history.user_id, 23), (other, 1)):
        for _ in range(count):
            told = tell(user_id)
            turn = told.turn(1, "I goed home", "You went home.")
            assessed = told.assessed(turn.turn.turn_id, ("goed", "went"))
            await history.ingest(told.started(), turn, assessed, told.recording(new_id()))
    assert (await erase(history, history.user_id)).erased == 23
    assert (await erase(history, history.user_id)).erased == 0
    for user_id, left in ((history.user_id, 0), (other, 1)):
        listed = await history.ask("ListConversations", pb.ListConversationsRequest(), user_id)
        assert len(listed.conversations) == left
        found = await history.ask("SearchTurns", pb.SearchTurnsRequest(query="home"), user_id)
        assert len(found.matches) == 2 * left
        mistakes = await history.ask("ListMistakes", pb.ListMistakesRequest(), user_id)
        assert len(mistakes.mistakes) == left


async def test_an_event_that_comes_late_brings_nothing_back(history: History, tell: Tell):
    told = tell()
    await history.ingest(told.started())
    await erase(history, history.user_id)
    await history.ingest(told.turn(1, "I am late", "Never mind."))
    listed = await history.ask("ListConversations", pb.ListConversationsRequest())
    assert not listed.conversations


@pytest.mark.parametrize("caller", ["conversation", "media", "ai"])
async def test_no_other_service_may_ask_for_it(history: History, caller: str):
    refused = await history.refused(erase(history, history.user_id, caller))
    assert refused.reason == "SERVICE_IDENTITY_REQUIRED"
