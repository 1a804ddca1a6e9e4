"""Ingest: idempotent, all or nothing, in any order, for services only."""

import random
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from parley.history.v1 import history_pb2 as pb
from services.common.errors import Code
from services.common.ids import new_id
from tests.contract.history.conftest import Callers, History, Serve, Tell, Told


async def conversation(history: Any, told: Any) -> pb.GetConversationResponse:
    request = pb.GetConversationRequest(conversation_id=told.conversation_id)
    found: pb.GetConversationResponse = await history.ask("GetConversation", request)
    return found


async def test_only_services_may_tell_what_happened(history: History, tell: Tell) -> None:
    request = pb.IngestRequest(events=[tell().started()])
    error = await history.refused(history.ask("Ingest", request))
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "SERVICE_IDENTITY_REQUIRED")


@pytest.mark.parametrize("name", ["user", "history"])
async def test_services_with_nothing_to_tell_are_refused(
    history: History, tell: Tell, name: str
) -> None:
    request = pb.IngestRequest(events=[tell().started()])
    error = await history.refused(
        history.stub.Ingest(request, metadata=history.callers.service(name))
    )
    assert error.code in (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED)


async def test_no_events_or_too_many_are_refused(history: History, tell: Tell) -> None:
    for events in ([], [tell().started()] * 101):
        error = await history.refused(history.ingest(*events))
        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_an_event_is_stored_once_however_often_it_comes(history: History, tell: Tell) -> None:
    told = tell()
    events = [told.started(), told.turn(1, "hello there", "hi"), told.ended()]
    first = await history.ingest(*events)
    assert (first.stored, first.known) == (3, 0)
    again = await history.ingest(*events, *events)
    assert (again.stored, again.known) == (0, 6)
    assert len((await conversation(history, told)).turns) == 1


async def test_every_order_ends_in_the_same_history(history: History, tell: Tell) -> None:
    """A turn may come before its conversation began, and its feedback before the turn."""
    shuffle = random.Random(7).shuffle
    seen = []
    for _ in range(8):
        told = tell()
        turns = [told.turn(number, f"words of turn {number}", "I see") for number in (1, 2, 3)]
        events = [
            told.started("job-interview"),
            *turns,
            told.assessed(turns[1].turn.turn_id, ("he go", "he goes")),
            told.recording(new_id()),
            told.ended(),
        ]
        shuffle(events)
        for event in events:
            await history.ingest(event)
        found = await conversation(history, told)
        summary = found.conversation
        seen.append(
            (
                summary.scenario_id,
                summary.started_at.seconds,
                summary.ended_at.seconds,
                summary.turns,
                summary.preview,
                summary.corrections,
                summary.learner_speech_ms,
                summary.median_silence_ms,
                bool(summary.recording_id),
                [record.turn.utterance.verbatim for record in found.turns],
                [len(record.feedback.corrections) for record in found.turns],
            )
        )
    assert all(each == seen[0] for each in seen)
    assert seen[0][3:8] == (3, "words of turn 1", 1, 4500, 250)
    assert seen[0][10] == [0, 1, 0]


async def test_a_turn_sent_again_under_another_event_id_replaces_itself(
    history: History, tell: Tell
) -> None:
    told = tell()
    first = told.turn(1, "I goed home")
    await history.ingest(told.started(), first)
    corrected = told.turn(1, "I went home", turn_id=first.turn.turn_id)
    corrected.occurred_at.seconds += 5
    await history.ingest(corrected)
    found = await conversation(history, told)
    assert [record.turn.utterance.verbatim for record in found.turns] == ["I went home"]
    for words, matches in (("goed", 0), ("went", 1)):
        result = await history.ask("SearchTurns", pb.SearchTurnsRequest(query=words))
        assert len(result.matches) == matches


async def test_the_turn_comes_back_exactly_as_it_was_told(history: History, tell: Tell) -> None:
    told = tell()
    event = told.turn(1, "¿Qué? 你好 \U0001f600", "Good \x00 answer", generation=2**63)
    await history.ingest(event)
    assert (await conversation(history, told)).turns[0].turn == event.turn


async def test_one_bad_event_keeps_out_the_whole_batch_and_is_named(
    history: History, tell: Tell
) -> None:
    told, other = tell(), tell()
    bad = other.turn(1, "x", utterance_start_ms=5_000, utterance_end_ms=1_000)
    error = await history.refused(history.ingest(told.started(), bad))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "EVENT_INVALID")
    assert [each.field for each in error.fields] == ["events[1].turn.utterance_end_ms"]
    gone = await history.refused(conversation(history, told))
    assert gone.code is Code.NOT_FOUND


async def test_times_outside_the_calendar_are_named(history: History, tell: Tell) -> None:
    event = tell().started()
    event.occurred_at.CopyFrom(Timestamp(seconds=2**62))
    error = await history.refused(history.ingest(event))
    assert error.code is Code.INVALID_ARGUMENT
    assert any("occurred_at" in each.field for each in error.fields)


async def test_another_users_conversation_cannot_be_added_to(history: History, tell: Tell) -> None:
    told = tell()
    await history.ingest(told.started())
    told.user_id = new_id()
    error = await history.refused(history.ingest(told.turn(1, "mine now")))
    assert [each.field for each in error.fields] == ["events[0].user_id"]


async def test_two_turns_cannot_have_one_number_nor_one_turn_two(
    history: History, tell: Tell
) -> None:
    told = tell()
    first = told.turn(1, "one")
    await history.ingest(first)
    same_number = told.turn(1, "another one")
    same_id = told.turn(2, "moved", turn_id=first.turn.turn_id)
    error = await history.refused(history.ingest(same_number, told.turn(3, "fine"), same_id))
    assert [each.field for each in error.fields] == ["events[0].turn", "events[2].turn"]
    assert len((await conversation(history, told)).turns) == 1


async def test_an_event_id_used_for_something_else_is_a_conflict(
    history: History, tell: Tell
) -> None:
    told, other = tell(), tell()
    event = told.started()
    await history.ingest(event)
    error = await history.refused(
        history.ingest(other.event(event_id=event.event_id, started=event.started))
    )
    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "EVENT_CONFLICT")
    twice = other.event(event_id=new_id(), started=event.started)
    reused = other.event(event_id=twice.event_id, ended=pb.ConversationEnded())
    error = await history.refused(history.ingest(twice, reused))
    assert [each.field for each in error.fields] == ["events[1].event_id"]


async def test_what_was_ingested_outlives_the_process(
    serve_history: Serve, callers: Callers
) -> None:

    async with serve_history() as first:
        told = Told(first.user_id, new_id())
        event = told.turn(1, "still here")
        await first.ingest(told.started(), event)
    async with serve_history() as second:
        second.user_id = told.user_id
        assert (await second.ingest(event)).known == 1
        assert (await conversation(second, told)).conversation.turns == 1


async def test_the_beginning_is_the_earliest_thing_known_until_it_is_told(
    history: History, tell: Tell
) -> None:
    told = tell()
    await history.ingest(told.turn(2, "second"), told.turn(1, "first"))
    summary = (await conversation(history, told)).conversation
    assert summary.started_at.ToDatetime(tzinfo=told.began.tzinfo) == told.began + timedelta(
        seconds=10
    )
    await history.ingest(told.started())
    summary = (await conversation(history, told)).conversation
    assert summary.started_at.ToDatetime(tzinfo=told.began.tzinfo) == told.began
