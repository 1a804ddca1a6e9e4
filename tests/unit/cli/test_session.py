"""The learner's view of a conversation, event by event."""

from __future__ import annotations

import functools
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.conversation.v1 import conversation_pb2 as pb
from parley.types.v1 import speech_pb2, turn_pb2
from parley_cli.session import (
    ConnectionChanged,
    Event,
    Floor,
    MuteChanged,
    Played,
    ReplySounded,
    SessionView,
    Typed,
    reduce,
)
from tests.unit.cli.fake_parley import feedback, status_of

TURN_ID = "0197c3a2-1111-7000-8000-000000000001"


def response(turn: int = 0, generation: int = 0, **message: Any) -> pb.ConverseResponse:
    return pb.ConverseResponse(turn=turn, generation=generation, **message)


def started(**fields: Any) -> pb.ConverseResponse:
    return response(started=pb.SessionStarted(conversation_id="c", engine="local", **fields))


def transcript(text: str, *, turn: int = 1, final: bool = False) -> pb.ConverseResponse:
    update = pb.TranscriptUpdate(transcript=speech_pb2.Transcript(verbatim=text), final=final)
    return response(turn=turn, transcript=update)


def reply_started(
    generation: int = 1,
    turn: int = 1,
    kind: pb.ReplyKind.ValueType = pb.REPLY_KIND_ANSWER,
) -> pb.ConverseResponse:
    return response(turn, generation, reply_started=pb.ReplyStarted(kind=kind))


def reply_text(
    text: str, generation: int = 1, at_ms: int = 0, words: list[tuple[str, int]] | None = None
) -> pb.ConverseResponse:
    timed = [speech_pb2.Word(text=word, start_ms=ms) for word, ms in words or []]
    said = pb.ReplyText(text=text, audio_offset_ms=at_ms, words=timed)
    return response(1, generation, reply_text=said)


def reply_ended(
    reason: turn_pb2.ReplyEndReason.ValueType = turn_pb2.REPLY_END_REASON_COMPLETED,
    generation: int = 1,
    heard: str = "",
) -> pb.ConverseResponse:
    return response(1, generation, reply_ended=pb.ReplyEnded(reason=reason, heard_text=heard))


def notice(*, fatal: bool = False) -> pb.ConverseResponse:
    status = status_of(grpc.StatusCode.UNAVAILABLE, "PROVIDER_DOWN", "A voice is down.")
    return response(notice=pb.Notice(status=status, fatal=fatal))


def view_after(*events: Event) -> SessionView:
    return functools.reduce(reduce, events, SessionView())


SPEECH = response(speech_started=pb.SpeechStarted())
SILENCE = response(speech_ended=pb.SpeechEnded())
PAUSED = response(1, 1, reply_paused=pb.ReplyPaused())
RESUMED = response(1, 1, reply_resumed=pb.ReplyResumed())
ENDED = response(ended=pb.SessionEnded(summary=pb.SessionSummary(turns=1)))
SOUNDED = ReplySounded(1, 321.0)


@pytest.mark.parametrize(
    ("events", "floor"),
    [
        ([], Floor.CONNECTING),
        ([started()], Floor.LISTENING),
        ([started(), SPEECH], Floor.LEARNER),
        ([started(), SPEECH, SILENCE], Floor.LISTENING),
        ([started(), transcript("hi", final=True)], Floor.THINKING),
        ([started(), Typed("hi")], Floor.THINKING),
        ([started(), reply_started()], Floor.THINKING),
        ([started(), reply_started(), SOUNDED], Floor.TUTOR),
        ([started(), reply_started(), SOUNDED, SPEECH], Floor.TUTOR),
        ([started(), reply_started(), SOUNDED, PAUSED], Floor.HELD),
        ([started(), reply_started(), SOUNDED, PAUSED, RESUMED], Floor.TUTOR),
        ([started(), reply_started(), SOUNDED, reply_ended()], Floor.LISTENING),
        ([started(), ConnectionChanged(False)], Floor.RECONNECTING),
        ([started(), ConnectionChanged(False), ConnectionChanged(True)], Floor.LISTENING),
        (
            [started(), reply_started(), ConnectionChanged(False), started(resumed=True)],
            Floor.TUTOR,
        ),
        ([started(), ENDED], Floor.ENDED),
        ([started(), ENDED, SPEECH], Floor.ENDED),
        ([started(), ENDED, ConnectionChanged(False)], Floor.ENDED),
    ],
)
def test_who_has_the_floor(events: list[Event], floor: Floor) -> None:
    assert view_after(*events).floor is floor


def test_a_later_transcript_of_a_turn_replaces_the_earlier() -> None:
    turn = view_after(started(), transcript("I go"), transcript("I goed home", final=True)).turns[0]
    assert (turn.utterance, turn.utterance_final) == ("I goed home", True)


def test_a_late_partial_does_not_replace_the_final_transcript() -> None:
    view = view_after(started(), transcript("I goed home", final=True), transcript("I go"))
    assert view.turns[0].utterance == "I goed home"


MHM = transcript("Mhm.", turn=2)
NOTHING = transcript("", turn=2, final=True)
ANSWERED = (started(), transcript("I like pets.", final=True), reply_started(), SOUNDED)


def test_a_mhm_that_is_no_turn_is_taken_back_and_the_tutor_keeps_the_floor() -> None:
    view = view_after(*ANSWERED, MHM, NOTHING)
    assert [turn.number for turn in view.turns] == [1]
    assert view.floor is Floor.TUTOR


def test_a_cough_into_the_silence_gives_the_floor_back() -> None:
    view = view_after(started(), SPEECH, transcript("Hm"), transcript("", final=True))
    assert (view.turns, view.floor) == ((), Floor.LISTENING)


def test_words_that_are_taken_back_of_a_turn_with_a_reply_leave_the_reply() -> None:
    (turn,) = view_after(*ANSWERED, transcript("", final=True)).turns
    assert (turn.utterance, turn.utterance_final, turn.generation) == ("", False, 1)


def test_words_that_became_no_turn_stand_neither_before_a_hint_nor_among_the_turns() -> None:
    """A server may go before it takes them back."""
    view = view_after(*ANSWERED, MHM)
    assert [turn.number for turn in view.turns_taken] == [1]
    hint = reply_started(2, turn=2, kind=pb.REPLY_KIND_HINT)
    assert reduce(view, hint).turns[1].utterance == ""
    spoken = view_after(*ANSWERED, transcript("Well, yes.", turn=2, final=True), hint)
    assert spoken.turns[1].utterance == "Well, yes."


def test_words_of_a_reply_show_when_they_are_played() -> None:
    text = reply_text("Nice to meet you.", words=[("Nice", 0), ("to", 200), ("meet", 300)])
    view = view_after(started(), reply_started(), text)
    assert view.turns[0].spoken == ""
    assert reduce(view, Played(1, 250)).turns[0].spoken == "Nice to"
    assert reduce(view, Played(1, 400)).turns[0].spoken == "Nice to meet you."
    assert view.turns[0].reply == "Nice to meet you."


def test_words_that_do_not_spell_the_text_show_with_their_stretch() -> None:
    text = reply_text("It costs £5.", at_ms=100, words=[("five", 300), ("pounds", 500)])
    view = view_after(started(), reply_started(), text)
    assert reduce(view, Played(1, 100)).turns[0].spoken == ""
    assert reduce(view, Played(1, 101)).turns[0].spoken == "It costs £5."


def test_an_interrupted_reply_keeps_what_was_heard_and_nothing_else() -> None:
    view = view_after(
        started(),
        reply_started(),
        reply_text("Nice to meet you."),
        reply_ended(turn_pb2.REPLY_END_REASON_INTERRUPTED, heard="Nice to"),
    )
    assert (view.turns[0].spoken, view.turns[0].end) == ("Nice to", "interrupted")


def test_output_of_an_older_generation_changes_nothing() -> None:
    view = view_after(started(), reply_started(1), reply_started(2), reply_text("New", 2))
    for stale in (
        reply_text("Old", 1),
        reply_started(1),
        response(1, 1, reply_audio=pb.ReplyAudio(pcm=b"\0\0")),
        PAUSED,
        RESUMED,
        reply_ended(generation=1, heard="Old"),
    ):
        assert reduce(view, stale) == view


def test_a_new_generation_of_a_turn_starts_from_nothing() -> None:
    view = view_after(started(), reply_started(1), reply_text("Old", 1), SOUNDED, reply_started(2))
    assert (view.turns[0].words, view.turns[0].silence_ms) == ((), None)


def test_a_saved_turn_gets_its_feedback_though_a_newer_reply_is_being_said() -> None:
    view = view_after(
        started(),
        transcript("I goed", final=True),
        reply_started(1),
        reply_ended(),
        response(turn_saved=pb.TurnSaved(turn_id=TURN_ID, number=1)),
        reply_started(2, turn=2),
        response(1, 1, feedback=pb.TurnFeedback(turn_id=TURN_ID, feedback=feedback())),
    )
    assert view.turns[0].turn_id == TURN_ID
    assert [c.replacement for c in view.turns[0].corrections] == ["went"]


def test_a_notice_is_its_sentence() -> None:
    notices = view_after(started(), notice(), notice(fatal=True)).notices
    assert [(n.text, n.reason, n.fatal) for n in notices] == [
        ("A voice is down.", "PROVIDER_DOWN", False),
        ("A voice is down.", "PROVIDER_DOWN", True),
    ]


def test_the_notices_kept_are_bounded() -> None:
    assert len(view_after(started(), *[notice()] * 50).notices) == 3


def test_muting_shows() -> None:
    assert view_after(started(), MuteChanged(True)).muted


def test_the_server_going_away_shows_how_long_there_is_left() -> None:
    view = view_after(started(), response(go_away=pb.GoAway(time_left_ms=5000)))
    assert view.time_left_ms == 5000
    assert reduce(view, started(resumed=True)).time_left_ms is None


EVENTS = st.sampled_from(
    [
        started(),
        SPEECH,
        SILENCE,
        transcript("a"),
        transcript("a b", final=True),
        transcript("c", turn=2),
        transcript("", turn=2, final=True),
        reply_started(1),
        reply_started(2),
        reply_started(3, turn=2),
        reply_text("one", 1),
        reply_text("two", 2),
        reply_text("three", 3),
        Played(1, 100),
        Played(2, 300),
        Played(1, 50),
        SOUNDED,
        PAUSED,
        RESUMED,
        reply_ended(),
        reply_ended(generation=2),
        notice(),
        Typed("typed"),
        ConnectionChanged(False),
        ConnectionChanged(True),
        ENDED,
    ]
)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_whatever_comes_the_view_stays_sound(events: list[Event]) -> None:
    """Turn numbers are unique and in order, generations and what was heard only grow, and what has
    ended stays ended."""
    view = SessionView()
    for event in events:
        before = view
        view = reduce(view, event)
        numbers = [turn.number for turn in view.turns]
        assert numbers == sorted(set(numbers))
        assert view.generation >= before.generation
        if before.floor is Floor.ENDED:
            assert view.floor is Floor.ENDED
        for turn in before.turns:
            after = next((t for t in view.turns if t.number == turn.number), None)
            if after is None:
                assert not turn.generation, "only words that became no turn are taken back"
                continue
            if after.generation == turn.generation and not isinstance(event, pb.ConverseResponse):
                assert after.heard_ms >= turn.heard_ms
