"""Whatever happens in whatever order, a session keeps its promises.

`make test` tries 200 sequences of events. Any other number, 10,000 take some three minutes:

    SESSION_SEQUENCES=10000 make test ARGS="-k whatever_happens tests/unit"
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from parley.types.v1 import learner_pb2, speech_pb2, turn_pb2
from services.conversation import events, problems
from services.conversation.events import Effect
from services.conversation.floor import TRANSITIONS, State, Trigger
from tests.sequences import sequences
from tests.unit.conversation.driving import Drive

SEQUENCES = sequences(200)

ENDED_EARLY = {
    turn_pb2.REPLY_END_REASON_INTERRUPTED,
    turn_pb2.REPLY_END_REASON_FAILED,
    turn_pb2.REPLY_END_REASON_SESSION_ENDED,
}
AFTER_SENDING = {turn_pb2.STAGE_KIND_RECEIVED, turn_pb2.STAGE_KIND_PLAYED}
SPEECH = turn_pb2.UTTERANCE_SOURCE_SPEECH
TEXT = turn_pb2.UTTERANCE_SOURCE_TEXT
NONE = turn_pb2.UTTERANCE_SOURCE_NONE
CUT_OFF = turn_pb2.Turn(
    turn_id="01900000-0000-7000-8000-0000000000f6",
    number=6,
    generation=5,
    reply_text="one two",
    heard_text="one",
    reply_ms=600,
    heard_ms=300,
    reply_end_reason=turn_pb2.REPLY_END_REASON_FAILED,
    reply_words=[speech_pb2.Word(text="one"), speech_pb2.Word(text="two")],
)
# What engines say of the silence, in milliseconds: nothing, all, more than there was; and a part
# that only others can know.
STAGES = [(), (300.0,), (300.0, 150.0, 200.5, 50.0, 40.0), (5_000.0, 250.0)]
NOT_THE_ENGINES = turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_PLAYED, duration_ms=70, at_ms=70)
# The learner's audio is not sent here, so a place in it came when it would have.
UTTERANCE_END_S = 0.9
WORDS = ["", "mhm", "yeah", "wait", "no I mean", "tea", "really good", "one two three"]


def engine_stages(durations: Sequence[float], *, foreign: bool) -> list[turn_pb2.Stage]:
    stages, at_ms = [], 0.0
    for kind, duration_ms in enumerate(durations, start=turn_pb2.STAGE_KIND_ENDPOINT):
        at_ms += duration_ms
        stages.append(
            turn_pb2.Stage(
                kind=turn_pb2.StageKind.ValueType(kind), duration_ms=duration_ms, at_ms=at_ms
            )
        )
    return [*stages, NOT_THE_ENGINES] if foreign else stages


class TimedDrive(Drive):
    """Knows as well when each effect came, and when each turn was committed."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.begun_at = self.now
        self.times: list[float] = []
        self.committed_at: dict[int, float] = {}

    def give(self, event: events.Event) -> list[Effect]:
        effects = super().give(event)
        self.times += [self.now] * len(effects)
        return effects

    def commit(self, text: str = "I like tea", source: Any = None) -> int:
        self.committed_at[self.generation + 1] = self.now
        return super().commit(text, source)


class SessionPromises(RuleBasedStateMachine):
    """Clients, engines, storage and time, at random, against one session."""

    @initialize(
        captions_only=st.booleans(),
        tutor_opens=st.booleans(),
        no_barge_in=st.booleans(),
        next_turn=st.sampled_from([1, 7]),
        cut_off=st.booleans(),
    )
    def begin(
        self,
        captions_only: bool,
        tutor_opens: bool,
        no_barge_in: bool,
        next_turn: int,
        cut_off: bool,
    ) -> None:
        # One that goes on may begin by closing the turn in which its process died.
        broken_off = events.SaveTurn(CUT_OFF) if cut_off and next_turn > 1 else None
        self.first_turn = CUT_OFF.number if broken_off else next_turn
        self.drive = TimedDrive(
            captions_only=captions_only,
            tutor_opens=tutor_opens,
            next_turn=next_turn,
            last_generation=5,
            broken_off=broken_off,
            turn_taking=learner_pb2.TurnTakingPreferences(no_barge_in=no_barge_in),
            session_s=900,
            idle_s=120,
            resume_s=60,
            reply_timeout_s=20,
        )
        self.engine_up = True
        self.gone = False
        self.over_generation = 5
        self.newest_generation = 5
        self.finished: list[tuple[int, int]] = []
        self.unstored: list[turn_pb2.Turn] = []
        self.stored = 0
        self.checked = 0
        self.ended = 0
        self.accounted_ms = 0
        self.accounted_seq = 0
        self.seq = 1
        self.back_seq = 0
        self.typed: list[int] = []
        self.heard_of: dict[int, str] = {}
        self.sounded_at: dict[int, float] = {}
        self.drive.give(events.Opened())

    # --- what may happen ----------------------------------------------------------------------

    @rule(source=st.sampled_from([SPEECH, SPEECH, TEXT, NONE]), step=st.sampled_from([1, 1, 3, -1]))
    @precondition(lambda self: self.engine_up)
    def commit(self, source: Any, step: int) -> None:
        self.drive.generation = max(0, self.drive.generation + step - 1)
        self.drive.commit(source=source)

    @rule()
    @precondition(lambda self: self.engine_up)
    def commit_what_was_asked(self) -> None:
        """The engine takes up the last text that it was given."""
        texts = self.drive.told_engine("text")
        if texts:
            self.drive.generation = max(self.drive.generation, self.drive.session.generation)
            self.drive.commit(texts[-1].text, TEXT)

    @rule(
        text=st.sampled_from(["Yes", "That is very good", "one two three four five six seven"]),
        durations=st.sampled_from(STAGES),
        foreign=st.booleans(),
    )
    @precondition(lambda self: self.engine_up)
    def speak(self, text: str, durations: Sequence[float], foreign: bool) -> None:
        stages = engine_stages(durations, foreign=foreign)
        self.drive.speak(text, end=False, stages=stages)

    @rule(
        source=st.sampled_from([SPEECH, SPEECH, TEXT]),
        before_s=st.sampled_from([0.0, 0.3, 1.2]),
        durations=st.sampled_from(STAGES),
        foreign=st.booleans(),
        ends=st.booleans(),
        after_s=st.sampled_from([0.0, 0.4, 4.0]),
    )
    @precondition(lambda self: self.engine_up)
    def take_a_turn(
        self,
        source: Any,
        before_s: float,
        durations: Sequence[float],
        foreign: bool,
        ends: bool,
        after_s: float,
    ) -> None:
        """What most turns are: words, an answer some time later, and some of it is heard."""
        self.drive.learner_begins(0)
        self.drive.learner_stops()
        self.drive.generation = max(self.drive.generation, self.drive.session.generation)
        if source == TEXT:
            self.text()
        self.drive.advance(before_s / 2)
        self.drive.commit(source=source)
        self.drive.advance(before_s)
        stages = engine_stages(durations, foreign=foreign)
        self.drive.speak("That is very good", end=ends, stages=stages)
        self.drive.advance(after_s)

    @rule(late=st.integers(0, 3))
    @precondition(lambda self: self.engine_up)
    def speak_late(self, late: int) -> None:
        generation = max(1, self.drive.generation - late)
        self.drive.speak("too late", generation, end=False)

    @rule(reason=st.sampled_from([turn_pb2.REPLY_END_REASON_COMPLETED] * 3 + [3]))
    @precondition(lambda self: self.engine_up)
    def end_reply(self, reason: Any) -> None:
        self.drive.end("That is very good", reason=reason)

    @rule(at_ms=st.sampled_from([0, 100, 1000]))
    @precondition(lambda self: self.engine_up)
    def learner_begins(self, at_ms: int) -> None:
        """A turn's utterance ends at 900: what begins later is no part of it."""
        self.drive.learner_begins(at_ms)

    @rule(text=st.sampled_from(WORDS), stops=st.booleans())
    @precondition(lambda self: self.engine_up)
    def speak_before_the_commit(self, text: str, stops: bool) -> None:
        """The engine has decided, its transcript is not ready, and the learner goes on."""
        self.drive.learner_begins(1000)
        if text:
            self.drive.words(text, end_ms=1500)
        if stops:
            self.drive.learner_stops()
        self.drive.commit()
        begun = self.drive.effects[self.checked :]
        if not stops and self.drive.sent("reply_started", begun):
            held = self.drive.session.state is not State.REPLYING
            assert held or self.drive.session.turn_taking.no_barge_in, "nobody is talked over"

    @rule()
    @precondition(lambda self: self.engine_up)
    def learner_stops(self) -> None:
        self.drive.learner_stops()

    @rule(text=st.sampled_from(WORDS), final=st.booleans())
    @precondition(lambda self: self.engine_up)
    def words(self, text: str, final: bool) -> None:
        self.drive.words(text, final=final)

    @rule()
    @precondition(lambda self: self.engine_up)
    def dropped(self) -> None:
        self.drive.engine(utterance_dropped={"reason": "noise"})

    @rule()
    @precondition(lambda self: self.engine_up)
    def long_silence(self) -> None:
        self.drive.engine(long_silence={"silence_ms": 9000})

    @rule(ms=st.integers(0, 3000), back=st.integers(0, 2))
    def heard(self, ms: int, back: int) -> None:
        generation = max(0, self.drive.session.generation - back)
        self.drive.client(heard={"generation": generation, "audio_ms": ms, "play_delay_ms": 20})

    @rule(ms=st.integers(0, 3000))
    def interrupt(self, ms: int) -> None:
        self.drive.client(interrupt={"generation": 0, "heard_ms": ms})

    @rule()
    def text(self) -> None:
        self.seq += 1
        self.drive.client(seq=self.seq, text={"text": f"I typed {self.seq}"})
        if self.gone:
            return
        self.typed.append(self.seq)

    @rule()
    def text_again(self) -> None:
        """A client that came back sends again what it does not know the fate of."""
        for seq in self.typed[-3:]:
            if seq < self.back_seq:
                effects = self.drive.client(seq=seq, text={"text": f"I typed {seq}"})
                assert effects == [], "nothing is done twice"

    @rule()
    def end_turn(self) -> None:
        self.seq += 1
        self.drive.client(seq=self.seq, end_turn={})

    @rule(flag=st.booleans(), push_to_talk=st.booleans())
    def change(self, flag: bool, push_to_talk: bool) -> None:
        taking = {"no_barge_in": flag, "push_to_talk": push_to_talk}
        self.drive.client(settings={"captions_only": flag, "turn_taking": taking})

    @rule(muted=st.booleans())
    def mute(self, muted: bool) -> None:
        self.drive.client(settings={"muted": muted})

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.0, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.drive.advance(seconds)

    @rule(seconds=st.sampled_from([30.0, 100.0]))
    def wait_long(self, seconds: float) -> None:
        self.drive.advance(seconds)

    @rule()
    @precondition(lambda self: not self.gone)
    def disconnect(self) -> None:
        self.gone = True
        self.drive.give(events.ClientGone())

    @rule()
    @precondition(lambda self: self.gone)
    def reconnect(self) -> None:
        self.gone = False
        self.seq += 1
        self.back_seq = self.seq
        self.drive.give(events.ClientBack(start_seq=self.seq))

    @rule()
    @precondition(lambda self: self.engine_up)
    def lose_engine(self) -> None:
        self.engine_up = False
        self.drive.lose_engine(problems.engine_unavailable())

    @rule()
    @precondition(lambda self: not self.engine_up)
    def engine_back(self) -> None:
        self.engine_up = True
        self.drive.generation = max(self.drive.generation, self.drive.session.generation)
        self.drive.give(events.EngineBack())
        self.drive.give(events.EngineCaughtUp())

    @rule()
    @precondition(lambda self: self.unstored)
    def store(self) -> None:
        turn = self.unstored.pop(0)
        self.stored += 1
        self.drive.give(events.TurnStored(turn.turn_id, turn.number))

    @rule(which=st.integers(0, 40))
    def something_final(self, which: int) -> None:
        if which == 0:
            self.drive.client(finish={})
        elif which == 1:
            self.drive.give(events.ClientDone())
        elif which == 2:
            self.drive.give(events.Draining(5.0))
        elif which == 3:
            self.drive.give(events.EngineGivenUp(problems.engine_gone()))
        elif which == 4:
            self.drive.give(events.Refused(problems.audio_too_fast(), 3, fatal=True))

    # --- what must hold -----------------------------------------------------------------------

    @invariant()
    def promises(self) -> None:
        if not hasattr(self, "drive"):
            return
        new = zip(self.drive.effects[self.checked :], self.drive.times[self.checked :], strict=True)
        self.checked = len(self.drive.effects)
        for effect, at in new:
            self._check(effect, at)
        # A tick never asks for another at the same moment for ever: `advance` counts them.
        state = self.drive.session.state
        assert (self.drive.session.deadline() is None) == (state is State.ENDED)
        assert self.drive.session.unsaved_turns == len(self.unstored)

    def _check(self, effect: Effect, at: float) -> None:
        match effect:
            case events.Send(response):
                if response.HasField("reply_audio"):
                    self.sounded_at.setdefault(response.generation, at)
                self._check_response(response)
            case events.SaveTurn(turn, accounted_ms, _, accounted_seq):
                self._check_turn(turn)
                self._check_settled(accounted_ms, accounted_seq)
            case events.KeepTurn(turn, accounted_ms, _, accounted_seq):
                assert turn.number == self.first_turn + len(self.finished), "of the turn under way"
                self._check_settled(accounted_ms, accounted_seq)
            case events.Silence(generation):
                self.over_generation = max(self.over_generation, generation)
            case events.ToEngine(request) if request.HasField("interrupt"):
                # The engine remembers exactly what the learner was told was heard; of a reply
                # that the learner was never told of, nothing.
                told = self.heard_of.get(request.interrupt.generation, "")
                assert request.interrupt.heard_text == told
            case events.End() | events.Suspend():
                self.ended += 1
                assert self.ended == 1, "a session ends once"

    def _check_settled(self, accounted_ms: int, accounted_seq: int) -> None:
        assert accounted_ms >= self.accounted_ms, "what was settled stays settled"
        assert self.accounted_seq <= accounted_seq <= self.seq
        self.accounted_ms, self.accounted_seq = accounted_ms, accounted_seq

    def _check_response(self, response: Any) -> None:
        kind = response.WhichOneof("message")
        if self.ended:
            assert kind == "turn_saved", f"{kind} after the end"
        if not response.generation:
            return
        if kind != "reply_ended":
            assert response.generation > self.over_generation, f"{kind} of a silenced generation"
        assert response.generation >= self.newest_generation, "generations only grow"
        self.newest_generation = response.generation
        if kind == "reply_ended":
            if response.reply_ended.reason in ENDED_EARLY:
                assert self.over_generation >= response.generation, "silenced, then told"
            self.over_generation = max(self.over_generation, response.generation)
            self.last_heard = response.reply_ended.heard_text
            self.heard_of[response.generation] = self.last_heard
            self.finished.append((response.turn, response.generation))

    def _check_turn(self, turn: turn_pb2.Turn) -> None:
        assert turn.number == self.first_turn + len(self.finished) - 1, "numbered without gaps"
        assert (turn.number, turn.generation) == self.finished[-1], "told, then saved"
        assert turn.heard_ms <= turn.reply_ms
        assert turn.heard_text == self.last_heard
        if turn.reply_end_reason in ENDED_EARLY:
            whole = " ".join(word.text for word in turn.reply_words)
            assert whole.startswith(turn.heard_text)
        assert turn.started_at.ToNanoseconds() <= turn.ended_at.ToNanoseconds()
        self._check_stages(turn)
        self.unstored.append(turn)

    def _check_stages(self, turn: turn_pb2.Turn) -> None:
        """The parts add up to the silence; what they do not explain is told, and so is too much."""
        if turn.generation not in self.sounded_at or turn.source == NONE:
            assert not turn.stages, "nobody waited for it, or nothing was sent"
            return
        parts = [stage for stage in turn.stages if stage.kind not in AFTER_SENDING]
        kinds = [stage.kind for stage in parts]
        assert kinds == sorted(set(kinds)), "each part once, in their order"
        assert list(turn.stages[: len(parts)]) == parts, "what the client reported comes last"
        assert len(turn.stages) <= len(parts) + 2
        if turn.source != SPEECH and not parts:
            return  # Taken up without having been typed here.
        *measured, rest = parts
        assert rest.kind == turn_pb2.STAGE_KIND_UNACCOUNTED
        assert all(stage.duration_ms >= 0 for stage in turn.stages)
        silence_ms = rest.at_ms
        if turn.source == SPEECH:
            ended_at = min(
                self.drive.committed_at[turn.generation], self.drive.begun_at + UTTERANCE_END_S
            )
            waited_s = self.sounded_at[turn.generation] - ended_at
            assert silence_ms == pytest.approx(1000 * waited_s, abs=0.01)
        excess_ms = sum(stage.duration_ms for stage in measured) - silence_ms
        if excess_ms > 0.05:
            assert rest.duration_ms == 0
            assert f"{excess_ms:.1f} ms" in rest.note
        else:
            assert rest.duration_ms == pytest.approx(-excess_ms, abs=0.05)


# A sequence takes some 15 ms; finding the shortest one that fails takes minutes.
@pytest.mark.timeout(60 + SEQUENCES)
def test_whatever_happens_a_session_keeps_its_promises():
    run_state_machine_as_test(
        SessionPromises,
        settings=settings(
            max_examples=SEQUENCES, stateful_step_count=50, deadline=None, print_blob=True
        ),
    )


def test_every_state_but_the_last_can_be_left_and_the_last_cannot():
    sources = {state for state, _ in TRANSITIONS}
    assert sources == set(State) - {State.ENDED}
    assert set(TRANSITIONS.values()) == set(State)
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)
