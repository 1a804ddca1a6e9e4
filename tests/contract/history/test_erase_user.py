"""A deleted account leaves nothing in history."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from parley.history.v1 import history_pb2 as pb
from services.common.clock import ManualClock
from services.common.database import Database
from services.common.dead_letters import DeadLetters
from services.common.errors import Unavailable
from services.common.ids import new_id
from services.common.migrations import migrate
from services.common.outbox import Outbox, OutboxEvent
from services.common.outbox_relay import OutboxRelay
from services.common.refusals import EventsRefusedError
from services.conversation.adapters.store import SqlStore
from services.conversation.adapters.tables import OutboxRow
from services.conversation.bootstrap import MIGRATIONS
from services.conversation.journal import ConversationOver
from tests.contract.history.conftest import History, Tell
from tests.unit.conversation.test_store import begun, finished


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


async def test_a_conversation_that_it_hears_of_only_then_is_not_stored(
    history: History, tell: Tell
):
    """It was on its way, or a dead letter, when the account was deleted."""
    other = new_id()
    assert (await erase(history, history.user_id)).erased == 0
    told, others = tell(), tell(other)
    late = (told.started(), told.turn(1, "I am late", "Never mind."), told.recording(new_id()))
    answer = await history.ingest(*late, others.started(), others.turn(1, "I am on time"))
    assert (answer.stored, answer.known) == (2, 3)
    for user_id, left in ((history.user_id, 0), (other, 1)):
        listed = await history.ask("ListConversations", pb.ListConversationsRequest(), user_id)
        assert len(listed.conversations) == left
    assert (await erase(history, history.user_id)).erased == 0


class Line:
    """What is between the conversation service's outbox and history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.broken: Exception | None = None

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        if self.broken is not None:
            raise self.broken
        told = [pb.ConversationEvent.FromString(each.payload) for each in events]
        await self._history.ingest(*told)


@pytest.mark.parametrize("how", ["away", "refuses"])
async def test_what_lies_in_the_outbox_long_after_the_talk_is_erased_as_well(
    history: History, database_url: str, how: str
):
    """Its session's rows are gone by then, and nothing may bring it to history later."""
    await migrate(database_url, MIGRATIONS)
    clock, line = ManualClock(), Line(history)
    async with Database.open(database_url) as database:
        outbox = Outbox(OutboxRow, clock)
        store = SqlStore(database, outbox, clock)
        relay = OutboxRelay(database, outbox, line.publish, clock)
        start = replace(begun(clock), user_id=history.user_id)
        turn = replace(finished(start.conversation_id, 1, clock), user_id=history.user_id)
        over = ConversationOver(start.conversation_id, history.user_id, 10_000, clock.now())
        await store.write([start, turn, over])
        line.broken = (
            Unavailable("away", reason="PEER_UNAVAILABLE")
            if how == "away"
            else EventsRefusedError(
                {each.event_id: "EVENT_INVALID: a bug" for each in (start, turn, over)}
            )
        )
        await relay.run_once()
        await clock.advance(20 * 60)
        await store.prune()
        assert await store.erase_user(history.user_id, ()) == (1, 0)
        assert await store.erase_user(history.user_id, ()) == (0, 0)
        line.broken = None
        assert await DeadLetters(database, OutboxRow, clock).replay(None) == 0
        await clock.advance(60)
        assert await relay.run_once() == 0
    listed = await history.ask("ListConversations", pb.ListConversationsRequest())
    assert not listed.conversations


@pytest.mark.parametrize("caller", ["conversation", "media", "ai"])
async def test_no_other_service_may_ask_for_it(history: History, caller: str):
    refused = await history.refused(erase(history, history.user_id, caller))
    assert refused.reason == "SERVICE_IDENTITY_REQUIRED"
