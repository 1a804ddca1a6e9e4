"""Whatever is heard, answered and asked for in whatever order, turn-taking keeps its promises.

The clock is the learner's audio. `make test` tries 200 sequences; any other number:

    SESSION_SEQUENCES=10000 make test ARGS="-k whatever_happens tests/unit"
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from services.ai.audio import ms_of_samples, samples_of_ms
from services.ai.endpointing import PausePolicy, pause_policy
from services.ai.engine import Floor, TurnTakingPreferences
from services.ai.turn_taking import (
    MAX_SPECULATIONS,
    AskAgain,
    Committed,
    Dropped,
    Effect,
    EndRequested,
    Event,
    FloorChanged,
    Paused,
    PauseWords,
    PreferencesChanged,
    Resumed,
    SentenceEnd,
    SilentLong,
    Speculate,
    SpeculationRefused,
    Started,
    TurnScore,
    TurnTaking,
    UtteranceResolved,
    VoiceFrame,
)
from services.common.limits import DEFAULT_LIMITS
from tests.sequences import sequences

SEQUENCES = sequences(200)

FRAME = 512
VOICE, SILENCE = (0.5, 0.6, 0.95), (0.0, 0.2, 0.49)
# Shorter than what makes speech, than a pause, than a wait, and longer than any.
LENGTHS_MS = (32, 64, 96, 160, 400, 1_000, 3_000)
ONSET = samples_of_ms(90)
HOLDING = ("I went there because", "and", "um", "let me think")
# What words hold the floor for, so much longer where they ask for time.
ASKED_FOR, LONGER = "let me think", 3
FINISHED = ("", "I do.", "I like to cook for my friends.", "yes")
# A learner's own pauses make the waits this much shorter or longer, no more.
LEAST_STRETCH, MOST_STRETCH = 0.6, 1.8
LONG_TURN, BREATH = samples_of_ms(60_000), samples_of_ms(600)
LONGEST_TURN = samples_of_ms(DEFAULT_LIMITS.max_utterance_ms)
LONG_SILENCE = samples_of_ms(9_000)


class TurnPromises(RuleBasedStateMachine):
    """A learner, models that answer when they like, and a conversation, against one machine."""

    @initialize(
        patience=st.floats(0, 1),
        push_to_talk=st.booleans(),
        no_hints=st.booleans(),
        typical_pause_ms=st.sampled_from([0, 300, 1_800, 6_000]),
    )
    def begin(
        self, patience: float, push_to_talk: bool, no_hints: bool, typical_pause_ms: int
    ) -> None:
        self.wanted = TurnTakingPreferences(patience, push_to_talk, no_hints, typical_pause_ms)
        self.machine = TurnTaking(self.wanted)
        self.now = 0
        self.floor = Floor.LEARNER
        self.voiced = [False]  # Whether the frame that ends at each multiple of FRAME was.
        self.start: int | None = None
        self.over_at = 0
        self.undecided = False
        self.pause = 0
        self.is_paused = False
        self.words: str | None = None
        self.scored = False
        self.speculated: set[int] = set()
        self.quiet_since = 0
        self.hinted = False

    # --- what may happen ----------------------------------------------------------------------

    @rule(ms=st.sampled_from(LENGTHS_MS), probability=st.sampled_from(VOICE))
    def voice(self, ms: int, probability: float) -> None:
        self.hear(ms, probability)

    @rule(ms=st.sampled_from(LENGTHS_MS), probability=st.sampled_from(SILENCE))
    def silence(self, ms: int, probability: float) -> None:
        self.hear(ms, probability)

    @rule()
    def say_no_more(self) -> None:
        """Longer than the longest wait of the most patient."""
        self.hear(16_000, 0.0)

    @rule(turns=st.integers(0, 30))
    def talk_without_end(self, turns: int) -> None:
        """Now and then somebody talks for a minute."""
        if turns == 0:
            self.hear(60_000, 0.95)

    @rule(ms=st.sampled_from([96, 1_000]), words=st.sampled_from(HOLDING + FINISHED))
    def say(self, ms: int, words: str) -> None:
        """What most turns are: speech, the first silent frames, and what the models say."""
        self.hear(ms, 0.95)
        self.hear(64, 0.0)
        self.tell(TurnScore(self.pause, 0.99))
        self.tell(PauseWords(self.pause, words))

    @rule(probability=st.floats(0, 1))
    def score(self, probability: float) -> None:
        self.tell(TurnScore(self.pause, probability))

    @rule(text=st.sampled_from(HOLDING + FINISHED))
    def recognized(self, text: str) -> None:
        self.tell(PauseWords(self.pause, text))

    @rule(probability=st.floats(0, 1))
    def read(self, probability: float) -> None:
        self.tell(SentenceEnd(self.pause, probability))

    @rule(older=st.integers(1, 3), probability=st.floats(0, 1), text=st.sampled_from(FINISHED))
    def answer_late(self, older: int, probability: float, text: str) -> None:
        for event in (
            TurnScore(self.pause - older, probability),
            PauseWords(self.pause - older, text),
            SentenceEnd(self.pause - older, probability),
        ):
            assert self.machine.handle(event, self.now) == [], "about an older pause"

    @rule(floor=st.sampled_from(list(Floor)), cut_short=st.booleans())
    def give_floor(self, floor: Floor, cut_short: bool) -> None:
        self.quiet_since, self.hinted = self.now, False
        self.floor = floor
        self.undecided = self.start is not None and floor is Floor.TUTOR
        self.tell(FloorChanged(floor, cut_short))

    @rule(older=st.integers(0, 1))
    def refuse(self, older: int) -> None:
        pause = self.pause - older
        # Also where the learner speaks again by then: what was not prepared cost nothing.
        if older == 0:
            self.speculated.discard(pause)
        self.tell(SpeculationRefused(pause))

    @rule(take=st.booleans())
    def resolve(self, take: bool) -> None:
        if self.undecided and take:
            self.undecided, self.floor = False, Floor.LEARNER
        self.tell(UtteranceResolved(take))

    @rule()
    def end_turn(self) -> None:
        spoke = self.start is not None
        effects = self.tell(EndRequested())
        assert len([each for each in effects if isinstance(each, Committed)]) == spoke

    @rule(patience=st.floats(0, 1), push_to_talk=st.booleans(), no_hints=st.booleans())
    def change(self, patience: float, push_to_talk: bool, no_hints: bool) -> None:
        self.wanted = TurnTakingPreferences(patience, push_to_talk, no_hints)
        self.tell(PreferencesChanged(self.wanted))

    # --- how it is told -----------------------------------------------------------------------

    def hear(self, ms: int, probability: float) -> None:
        for _ in range(samples_of_ms(ms) // FRAME):
            self.now += FRAME
            self.voiced.append(probability >= 0.5)
            self.tell(VoiceFrame(probability, FRAME))
            self.check_nobody_waits_for_ever()

    def tell(self, event: Event) -> list[Effect]:
        if self.is_paused and isinstance(event, TurnScore | PauseWords):
            self.scored = self.scored or isinstance(event, TurnScore)
            self.words = event.text if isinstance(event, PauseWords) else self.words
        typical_ms = self.machine.typical_pause_ms
        effects = self.machine.handle(event, self.now)
        for effect in effects:
            self.check(effect, event)
        if self.undecided:
            assert self.machine.typical_pause_ms == typical_ms, "perhaps it is not the learner"
        assert self.machine.is_speaking == (self.start is not None)
        assert self.machine.floor is self.floor
        return effects

    # --- what must hold -----------------------------------------------------------------------

    @property
    def policy(self) -> PausePolicy:
        return pause_policy(self.wanted.patience)

    def check(self, effect: Effect, event: Event) -> None:
        match effect:
            case Started(start):
                assert self.start is None
                assert self.over_at <= start <= self.now - ONSET
                assert self.was_voiced(start, start + ONSET), "a click is no speech"
                self.start, self.undecided = start, self.floor is Floor.TUTOR
                self.speculated, self.is_paused = set(), False
            case Paused(pause, speech_end):
                assert self.start is not None
                assert not self.is_paused
                assert pause > self.pause
                assert self.start < speech_end <= self.now
                self.pause, self.is_paused = pause, True
                self.words, self.scored = None, False
            case Resumed(pause):
                assert self.is_paused
                assert pause == self.pause
                self.is_paused = False
            case Speculate(pause) | AskAgain(pause):
                assert self.is_paused
                assert pause == self.pause
                if isinstance(effect, Speculate):
                    assert pause not in self.speculated
                    self.speculated.add(pause)
                    assert len(self.speculated) <= MAX_SPECULATIONS, "what a turn may cost"
                    assert not self.undecided, "perhaps it is no turn"
            case Committed():
                self.check_committed(effect, event)
                self.floor = Floor.TUTOR
                self.over()
            case Dropped():
                assert self.undecided
                assert event == UtteranceResolved(take=False)
                self.over()
            case SilentLong(silence):
                assert self.start is None
                assert self.floor is Floor.LEARNER
                assert not self.wanted.no_hints
                assert not self.hinted, "a hint is given once"
                assert silence == self.now - self.quiet_since >= LONG_SILENCE
                self.hinted = True

    def check_committed(self, turn: Committed, event: Event) -> None:
        assert self.start is not None, "an utterance is committed once"
        assert turn.start == self.start
        assert self.is_paused
        assert turn.pause == self.pause
        assert turn.start < turn.speech_end <= self.now
        assert self.was_voiced(turn.speech_end - FRAME, turn.speech_end), "only after speech"
        length = self.now - turn.start
        if isinstance(event, EndRequested) or length >= LONGEST_TURN:
            return
        assert not self.wanted.push_to_talk, "the learner has not let go"
        assert not self.undecided, "the conversation has not said whether it is a turn"
        silence = self.now - turn.speech_end
        if length < LONG_TURN or silence < BREATH:
            assert ms_of_samples(silence) >= self.due_ms(), "the learner still had the floor"

    def due_ms(self) -> float:
        """Return how long a pause lasts at the least before it ends the turn."""
        if self.words in HOLDING:
            return self.policy.holding_ms * (LONGER if self.words == ASKED_FOR else 1)
        if self.words is None or not self.scored:
            return int(LEAST_STRETCH * self.policy.unsure_ms)
        return self.policy.sure_ms

    def check_nobody_waits_for_ever(self) -> None:
        """Who says no more is answered at last, whatever the models say or do not say."""
        if self.start is None or self.undecided or self.wanted.push_to_talk:
            return
        longest = MOST_STRETCH * max(self.policy.holding_ms, self.policy.unsure_ms)
        longest = max(longest, LONGER * self.policy.holding_ms)
        silent = samples_of_ms(longest) // FRAME + 2
        assert any(self.voiced[-silent:]), "nobody answers"

    def was_voiced(self, start: int, end: int) -> bool:
        """Whether every frame in a stretch was voiced."""
        return all(self.voiced[start // FRAME + 1 : -(-end // FRAME) + 1])

    def over(self) -> None:
        self.start, self.undecided, self.is_paused = None, False, False
        self.over_at = self.quiet_since = self.now
        self.hinted = False


@pytest.mark.timeout(60 + SEQUENCES)
def test_whatever_happens_the_taking_of_turns_keeps_its_promises():
    run_state_machine_as_test(
        TurnPromises,
        settings=settings(
            max_examples=SEQUENCES, stateful_step_count=50, deadline=None, print_blob=True
        ),
    )
