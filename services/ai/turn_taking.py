"""When a learner's turn begins, pauses and ends: a pure machine.

``handle(event, now) -> effects``. Time is a position on the session's time line in samples of the
learner's audio, so the machine has no clock: audio that comes late or in bursts is judged by what
it says. Words and scores come back from models later than the pause that they are about, and carry
its number; an answer about an older pause is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from services.ai.audio import ms_of_samples, samples_of_ms
from services.ai.endpointing import (
    Evidence,
    PauseEstimate,
    is_worth_preparing,
    pause_policy,
    wait_ms,
)
from services.ai.engine import Floor, TurnTakingPreferences
from services.ai.floor_words import asks_for_time
from services.common.limits import DEFAULT_LIMITS

# Speech begins, and ends, where the detector leans to it. Silero's own 0.35 for the end comes a
# frame or two later, which the learner would wait; the waits of `endpointing` are set for 0.5.
VOICE_ON = 0.5
VOICE_OFF = 0.5
# This much voice in a row makes speech of it, so that a click does not; and goes on with it.
_ONSET = samples_of_ms(90)
_RESUME = samples_of_ms(60)
# From here on a silence may be a pause and the models are asked: at the first frame without voice.
# The detector knows as much then as 64 ms later, and only 8 % more questions are asked in vain (on
# learners' recordings); asking later is heard.
_PAUSE = samples_of_ms(32)
# Over a reply there is no such hurry, and what is taken for all that was said should be all of it:
# between words there are stops of up to 100 ms.
_PAUSE_OVER_REPLY = samples_of_ms(160)
# A pause that has lasted this long without ending the turn is in doubt: the turn detector is asked
# once more, whose second answer knows as much as its first (and a third one less), and what it had
# thought unfinished is speculated on after all.
IN_DOUBT = samples_of_ms(350)
MAX_SPECULATIONS = 2
# A turn may last this long; then its next pause of a breath ends it, since nobody can answer more
# than a minute at once. At the limit nothing is waited for, not even in push-to-talk.
_LONG_TURN = samples_of_ms(60_000)
_BREATH = samples_of_ms(600)
_LONGEST_TURN = samples_of_ms(DEFAULT_LIMITS.max_utterance_ms)
# Who goes on so soon after the turn was taken for ended had only paused.
_GOES_ON = samples_of_ms(2_000)
# Time for a hint.
_LONG_SILENCE = samples_of_ms(9_000)


# --- events ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VoiceFrame:
    """The voice activity of the frame of ``samples`` that ends at ``now``."""

    probability: float
    samples: int


@dataclass(frozen=True, slots=True)
class TurnScore:
    """The turn detector's answer about a pause."""

    pause: int
    probability: float


@dataclass(frozen=True, slots=True)
class PauseWords:
    """The transcript up to a pause."""

    pause: int
    text: str


@dataclass(frozen=True, slots=True)
class SentenceEnd:
    """The language model's opinion on whether the words up to a pause end a sentence."""

    pause: int
    probability: float


@dataclass(frozen=True, slots=True)
class EndRequested:
    """The learner says that the turn is over (push-to-talk)."""


@dataclass(frozen=True, slots=True)
class FloorChanged:
    """Who has the floor from now on; a silence is counted from here.

    ``cut_short``: what the tutor said was not heard to its end, so that what the learner says next
    may still belong to the turn before it.
    """

    floor: Floor
    cut_short: bool = False


@dataclass(frozen=True, slots=True)
class SpeculationRefused:
    """No reply was prepared for ``pause``: the machine had no time for it, or no need."""

    pause: int


@dataclass(frozen=True, slots=True)
class UtteranceResolved:
    """What becomes of an utterance that began while the tutor had the floor."""

    take: bool


@dataclass(frozen=True, slots=True)
class PreferencesChanged:
    """How turns are taken from now on."""

    preferences: TurnTakingPreferences


Event: TypeAlias = (
    VoiceFrame
    | TurnScore
    | PauseWords
    | SentenceEnd
    | EndRequested
    | FloorChanged
    | SpeculationRefused
    | UtteranceResolved
    | PreferencesChanged
)


# --- effects --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """Speech began at ``start``."""

    start: int


@dataclass(frozen=True, slots=True)
class Paused:
    """Speech stopped at ``speech_end``: recognise what there is, ask the turn detector."""

    pause: int
    speech_end: int


@dataclass(frozen=True, slots=True)
class AskAgain:
    """The pause goes on: ask the turn detector once more."""

    pause: int


@dataclass(frozen=True, slots=True)
class Speculate:
    """This pause may be the end: prepare the reply and hold it back."""

    pause: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """Speech goes on: what was prepared for ``pause`` is void."""

    pause: int


@dataclass(frozen=True, slots=True)
class Committed:
    """The turn is over. ``pause`` is the one that ended it."""

    start: int
    speech_end: int
    pause: int


class DropReason(StrEnum):
    """Why an utterance is forgotten."""

    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Dropped:
    """The utterance is forgotten."""

    reason: DropReason


@dataclass(frozen=True, slots=True)
class SilentLong:
    """Nobody has spoken for long."""

    silence: int


Effect: TypeAlias = (
    Started | Paused | AskAgain | Speculate | Resumed | Committed | Dropped | SilentLong
)


class _State(StrEnum):
    QUIET = "quiet"
    SPEAKING = "speaking"
    PAUSED = "paused"


@dataclass(slots=True)
class _Utterance:
    """What is known of the utterance under way."""

    start: int
    speech_end: int
    # Under the tutor's floor an utterance waits for the conversation's decision.
    needs_resolving: bool
    speculations: int = 0
    evidence: Evidence = field(default_factory=Evidence)
    asked_again: bool = False
    speculated: bool = False
    said_before: int = 0
    # While it waits for the decision: what is learned from if it is the learner's turn.
    pauses_ms: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Ended:
    """The last turn that a pause ended: where its speech did, when it was taken to, its words."""

    speech_end: int
    decided: int
    words: int


class TurnTaking:
    """The machine of one session. See the module's docstring."""

    def __init__(self, preferences: TurnTakingPreferences, begin: int = 0) -> None:
        """`begin`: the position of the first sample that will be heard."""
        self._preferences = preferences
        self._policy = pause_policy(preferences.patience)
        self._estimate = PauseEstimate(preferences.typical_pause_ms)
        self._floor = Floor.LEARNER
        self._state = _State.QUIET
        self._utterance: _Utterance | None = None
        self._voice_run = 0
        self._pause = 0
        # What came before was not heard here: it counts for no silence.
        self._quiet_since = begin
        self._hinted = False
        self._ended: _Ended | None = None

    @property
    def floor(self) -> Floor:
        """Who has the floor."""
        return self._floor

    @property
    def typical_pause_ms(self) -> int:
        """The estimate of this learner's pauses inside turns; 0: not known."""
        return self._estimate.typical_ms

    @property
    def is_speaking(self) -> bool:
        """Whether an utterance is under way, paused or not."""
        return self._utterance is not None

    def handle(self, event: Event, now: int) -> list[Effect]:
        """Take one event at position ``now`` (samples); return what is to be done, in order."""
        match event:
            case VoiceFrame():
                return self._on_frame(event, now)
            case TurnScore():
                return self._on_score(event, now)
            case PauseWords():
                return self._on_words(event, now)
            case SentenceEnd():
                return self._on_sentence_end(event, now)
            case EndRequested():
                return self._on_end(now)
            case FloorChanged():
                return self._on_floor(event, now)
            case SpeculationRefused(pause):
                return self._on_refused(pause)
            case UtteranceResolved(take):
                return self._on_resolved(take=take, now=now)
            case PreferencesChanged(preferences):
                self._preferences = preferences
                self._policy = pause_policy(preferences.patience)
                return []

    # --- voice ------------------------------------------------------------------------------

    def _on_frame(self, frame: VoiceFrame, now: int) -> list[Effect]:
        threshold = VOICE_OFF if self._state is _State.SPEAKING else VOICE_ON
        voiced = frame.probability >= threshold
        self._voice_run = self._voice_run + frame.samples if voiced else 0
        if self._utterance is None:
            return self._while_quiet(now)
        if self._state is _State.SPEAKING:
            return self._while_speaking(self._utterance, voiced=voiced, now=now)
        return self._while_paused(self._utterance, now)

    def _while_quiet(self, now: int) -> list[Effect]:
        if self._voice_run >= _ONSET:
            start = now - self._voice_run
            self._utterance = _Utterance(start, now, self._floor is Floor.TUTOR)
            if not self._utterance.needs_resolving:
                self._take(self._utterance)
            self._state = _State.SPEAKING
            return [Started(start)]
        silence = now - self._quiet_since
        hint = self._floor is Floor.LEARNER and not (self._hinted or self._preferences.no_hints)
        if hint and silence >= _LONG_SILENCE:
            self._hinted = True
            return [SilentLong(silence)]
        return []

    def _take(self, utterance: _Utterance) -> None:
        """Make an utterance the learner's turn; perhaps it goes on with the one before.

        Then that one had only paused, which is learned from. What was a cough, or said to a tutor
        who has been heard to the end, is not.
        """
        utterance.needs_resolving = False
        ended, self._ended = self._ended, None
        if ended is not None and utterance.start - ended.decided <= _GOES_ON:
            self._learn(utterance, ms_of_samples(utterance.start - ended.speech_end))
            utterance.said_before = ended.words
            utterance.evidence = replace(utterance.evidence, said_before=ended.words)
        for pause_ms in utterance.pauses_ms:
            self._learn(utterance, pause_ms)

    def _learn(self, utterance: _Utterance, pause_ms: int) -> None:
        """Learn from a pause, if it is known to be the learner's."""
        if utterance.needs_resolving:
            utterance.pauses_ms.append(pause_ms)
        else:
            self._estimate = self._estimate.with_pause(pause_ms)

    def _while_speaking(self, utterance: _Utterance, *, voiced: bool, now: int) -> list[Effect]:
        if voiced:
            utterance.speech_end = now
            return self._commit_if_due(utterance, now)
        pause = _PAUSE_OVER_REPLY if utterance.needs_resolving else _PAUSE
        if now - utterance.speech_end < pause:
            return []
        self._state = _State.PAUSED
        self._pause += 1
        utterance.evidence = Evidence(said_before=utterance.said_before)
        utterance.asked_again = False
        utterance.speculated = False
        return [
            Paused(self._pause, utterance.speech_end),
            *self._commit_if_due(utterance, now),
        ]

    def _while_paused(self, utterance: _Utterance, now: int) -> list[Effect]:
        if self._voice_run >= _RESUME:
            # A pause that was asked for says nothing of the others.
            if not asks_for_time(utterance.evidence.words or ""):
                pause_ms = ms_of_samples(now - self._voice_run - utterance.speech_end)
                self._learn(utterance, pause_ms)
            self._state = _State.SPEAKING
            utterance.speech_end = now
            return [Resumed(self._pause)]
        effects: list[Effect] = []
        if now - utterance.speech_end >= IN_DOUBT and not self._voice_run:
            if not (utterance.asked_again or self._preferences.push_to_talk):
                utterance.asked_again = True
                effects.append(AskAgain(self._pause))
            effects += self._speculate(utterance)
        return effects + self._commit_if_due(utterance, now)

    # --- answers of the models --------------------------------------------------------------

    def _on_score(self, event: TurnScore, now: int) -> list[Effect]:
        utterance = self._utterance
        if utterance is None or self._state is not _State.PAUSED or event.pause != self._pause:
            return []
        known = utterance.evidence
        utterance.evidence = replace(known, scores=(*known.scores, event.probability))
        return self._weigh(utterance, now)

    def _on_words(self, event: PauseWords, now: int) -> list[Effect]:
        utterance = self._utterance
        if utterance is None or self._state is not _State.PAUSED or event.pause != self._pause:
            return []
        utterance.evidence = replace(utterance.evidence, words=event.text)
        return self._weigh(utterance, now)

    def _on_sentence_end(self, event: SentenceEnd, now: int) -> list[Effect]:
        utterance = self._utterance
        if utterance is None or self._state is not _State.PAUSED or event.pause != self._pause:
            return []
        utterance.evidence = replace(utterance.evidence, sentence_end=event.probability)
        return self._commit_if_due(utterance, now)

    def _weigh(self, utterance: _Utterance, now: int) -> list[Effect]:
        worth = is_worth_preparing(utterance.evidence)
        effects = self._speculate(utterance) if worth else []
        return effects + self._commit_if_due(utterance, now)

    def _speculate(self, utterance: _Utterance) -> list[Effect]:
        if (
            utterance.speculated
            or utterance.needs_resolving
            or utterance.speculations >= MAX_SPECULATIONS
        ):
            return []
        utterance.speculated = True
        utterance.speculations += 1
        return [Speculate(self._pause)]

    def _on_refused(self, pause: int) -> list[Effect]:
        utterance = self._utterance
        if utterance is not None and pause == self._pause and utterance.speculated:
            # It cost nothing: a pause that goes on asks again.
            utterance.speculated = False
            utterance.speculations -= 1
        return []

    # --- the learner's and the conversation's word ------------------------------------------

    def _on_end(self, now: int) -> list[Effect]:
        utterance = self._utterance
        if utterance is None:
            return []
        if utterance.needs_resolving:
            self._take(utterance)
        effects: list[Effect] = []
        if self._state is _State.SPEAKING:
            self._state = _State.PAUSED
            self._pause += 1
            effects.append(Paused(self._pause, utterance.speech_end))
        return effects + self._commit(utterance, now)

    def _on_floor(self, change: FloorChanged, now: int) -> list[Effect]:
        self._quiet_since = now
        self._hinted = False
        if change.floor is not self._floor:
            self._floor = change.floor
            if not change.cut_short:
                # What is said after the tutor's words is an answer to them.
                self._ended = None
        utterance = self._utterance
        if change.floor is Floor.TUTOR:
            if utterance is not None:
                # The tutor speaks over it: answers what was typed, or begins unasked.
                utterance.needs_resolving = True
            return []
        if utterance is not None and utterance.needs_resolving:
            # It outlived the tutor's words: it is the learner's turn now.
            self._take(utterance)
            return self._commit_if_due(utterance, now) if self._state is _State.PAUSED else []
        return []

    def _on_resolved(self, *, take: bool, now: int) -> list[Effect]:
        utterance = self._utterance
        if utterance is None or not utterance.needs_resolving:
            return []
        if not take:
            self._forget(now)
            return [Dropped(DropReason.DISMISSED)]
        self._take(utterance)
        self._floor = Floor.LEARNER
        return self._commit_if_due(utterance, now) if self._state is _State.PAUSED else []

    # --- the end ----------------------------------------------------------------------------

    def _commit_if_due(self, utterance: _Utterance, now: int) -> list[Effect]:
        length = now - utterance.start
        if length >= _LONGEST_TURN:
            return self._on_end(now)
        if utterance.needs_resolving or self._preferences.push_to_talk:
            return []
        if self._state is _State.SPEAKING or self._voice_run:
            # Perhaps speech again: decide when it is clear.
            return []
        silence = now - utterance.speech_end
        due_ms = wait_ms(self._policy, utterance.evidence, self.typical_pause_ms)
        is_due = ms_of_samples(silence) >= due_ms
        if is_due or (length >= _LONG_TURN and silence >= _BREATH):
            words = utterance.said_before + len((utterance.evidence.words or "").split())
            self._ended = _Ended(utterance.speech_end, now, words)
            return self._commit(utterance, now)
        return []

    def _commit(self, utterance: _Utterance, now: int) -> list[Effect]:
        effect = Committed(utterance.start, utterance.speech_end, self._pause)
        self._forget(now)
        # The reply that follows has the floor, until the conversation says otherwise.
        self._floor = Floor.TUTOR
        return [effect]

    def _forget(self, now: int) -> None:
        self._utterance = None
        self._state = _State.QUIET
        self._voice_run = 0
        self._quiet_since = now
        self._hinted = False
