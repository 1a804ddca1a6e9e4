"""An engine: what hears a learner and answers, whatever it is made of.

One live session takes ``EngineInput`` and gives ``EngineOutput``; a pipeline of five models, a
speech-to-speech model and a script all look the same from outside. Times are milliseconds on the
session's time line, which counts the learner's samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from services.ai.capabilities import Transcript, Voice, Word
from services.ai.learner import Correction, LearnerProfile, PastTurn, Scenario

# --- configuration --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnTakingPreferences:
    """How turns are taken. ``patience`` is 0 (answer fast) to 1 (wait long)."""

    patience: float = 0.5
    push_to_talk: bool = False
    no_hints: bool = False
    typical_pause_ms: int = 0


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Everything that a session begins with."""

    voice: str = ""
    profile: LearnerProfile = field(default_factory=LearnerProfile)
    scenario: Scenario = field(default_factory=Scenario)
    history: tuple[PastTurn, ...] = ()
    recent_corrections: tuple[Correction, ...] = ()
    turn_taking: TurnTakingPreferences = field(default_factory=TurnTakingPreferences)
    speech_rate: float = 1.0
    last_generation: int = 0
    next_turn: int = 1
    first_sample: int = 0
    captions_only: bool = False


# --- input ----------------------------------------------------------------------------------


class Floor(StrEnum):
    """Who may speak."""

    LEARNER = "learner"
    TUTOR = "tutor"


class ReplyPurpose(StrEnum):
    """Why the tutor speaks without being asked."""

    OPENING = "opening"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Audio:
    """A stretch of the microphone: int16 little-endian mono PCM at 16 kHz, whole samples."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class TypedText:
    """An utterance that was typed; it is a turn at once."""

    text: str


@dataclass(frozen=True, slots=True)
class EndTurn:
    """The utterance is over, whatever the silence says."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ends ``generation`` and older; ``heard_text`` is what the engine remembers of the reply.

    ``heard_ms`` is how much of its audio was heard; 0 where that is not known.
    """

    generation: int
    heard_text: str
    heard_ms: int = 0


@dataclass(frozen=True, slots=True)
class ReplyHeard:
    """The reply was heard to its end."""

    generation: int


@dataclass(frozen=True, slots=True)
class SetFloor:
    """Says who has the floor."""

    floor: Floor


@dataclass(frozen=True, slots=True)
class Resolve:
    """Decides over an utterance that began while the tutor had the floor."""

    take: bool


@dataclass(frozen=True, slots=True)
class ChangeSettings:
    """Changes the session; None leaves a setting as it is."""

    turn_taking: TurnTakingPreferences | None = None
    speech_rate: float | None = None
    voice: str | None = None
    captions_only: bool | None = None


@dataclass(frozen=True, slots=True)
class RequestReply:
    """Asks the tutor to speak without an utterance."""

    purpose: ReplyPurpose


@dataclass(frozen=True, slots=True)
class EndInput:
    """No more will come; the reply under way is finished, then the session ends."""


EngineInput: TypeAlias = (
    Audio
    | TypedText
    | EndTurn
    | Interrupt
    | ReplyHeard
    | SetFloor
    | Resolve
    | ChangeSettings
    | RequestReply
    | EndInput
)


# --- output ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineCapabilities:
    """What an engine can do."""

    partial_transcripts: bool
    word_times: bool
    speculation: bool
    speech_to_speech: bool
    languages: tuple[str, ...]


class UtteranceSource(StrEnum):
    """How the learner's part of a turn came."""

    SPEECH = "speech"
    TEXT = "text"
    NONE = "none"


class StageKind(StrEnum):
    """The parts of the silence before an answer that an engine causes, in their order."""

    ENDPOINT = "endpoint"
    TRANSCRIPT = "transcript"
    FIRST_TOKEN = "first_token"  # noqa: S105 - a language model's token
    FIRST_CLAUSE = "first_clause"
    FIRST_AUDIO = "first_audio"


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the silence.

    ``duration_ms`` is what the learner waited for this part alone; ``at_ms`` when it was over,
    counted from the end of the learner's speech.
    """

    kind: StageKind
    duration_ms: float
    at_ms: float
    provider: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply took; ``prompt_tokens`` are those that were read, in a cache or not."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    audio_in_ms: int = 0
    speculations: int = 0
    speculations_discarded: int = 0


@dataclass(slots=True)
class Used:
    """What a session has used so far: audio of turns, tokens and characters of all replies.

    Also of those that were interrupted, thrown away, or cut off by the end of the session.
    """

    audio_in_ms: int = 0
    output_tokens: int = 0
    characters: int = 0


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """Speech stopped, perhaps only for a pause."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What the learner says; ``final`` when it will not change any more."""

    transcript: Transcript
    final: bool
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The utterance is a turn now; a reply with ``generation`` follows.

    ``speculations`` were made for it, of which ``speculations_discarded`` in vain.
    ``will_be_revised``: a ``TranscriptRevised`` follows, unless there is no time for it.
    """

    turn: int
    generation: int
    source: UtteranceSource
    transcript: Transcript
    start_ms: int
    end_ms: int
    typical_pause_ms: int
    speculations: int = 0
    speculations_discarded: int = 0
    will_be_revised: bool = False


@dataclass(frozen=True, slots=True)
class TranscriptRevised:
    """The utterance of a turn, heard again with more care; at most one a turn.

    ``recognizer`` is who heard it; empty: who heard it the first time.
    """

    turn: int
    generation: int
    transcript: Transcript
    recognizer: str = ""


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The next words of the reply, with the white space that joins them to the ones before."""

    turn: int
    generation: int
    text: str
    audio_offset_ms: int
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """The next audio of the reply; ``stages`` only with the first."""

    turn: int
    generation: int
    pcm: bytes
    offset_ms: int
    stages: tuple[Stage, ...] = ()


class ReplyEndReason(StrEnum):
    """Why a reply stopped."""

    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The reply is complete, or failed."""

    turn: int
    generation: int
    reason: ReplyEndReason
    text: str
    audio_ms: int
    usage: Usage


class FailureReason(StrEnum):
    """What failed in a session that goes on; each is a documented reason of an error."""

    RECOGNIZER = "RECOGNIZER_FAILED"
    LANGUAGE_MODEL = "LANGUAGE_MODEL_FAILED"
    SYNTHESIZER = "SYNTHESIZER_FAILED"


@dataclass(frozen=True, slots=True)
class Notice:
    """A failure that does not end the session."""

    reason: FailureReason
    message: str
    turn: int = 0
    generation: int = 0


@dataclass(frozen=True, slots=True)
class LongSilence:
    """The learner has been silent for long: time for a hint."""

    silence_ms: int


@dataclass(frozen=True, slots=True)
class UtteranceDropped:
    """The utterance was nothing and is forgotten: "noise", "empty" or "dismissed".

    ``speculations`` were made for it, all in vain.
    """

    reason: str
    speculations: int = 0


EngineOutput: TypeAlias = (
    SpeechStarted
    | SpeechEnded
    | Heard
    | TurnCommitted
    | TranscriptRevised
    | ReplyText
    | ReplyAudio
    | ReplyEnded
    | Notice
    | LongSilence
    | UtteranceDropped
)


# --- the interface --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What ListEngines says of an engine. ``problem`` is empty when it can serve."""

    name: str
    title: str
    capabilities: EngineCapabilities
    output_rate_hz: int
    voices: tuple[Voice, ...]
    problem: str = ""


class EngineSession(Protocol):
    """One live session.

    ``handle`` never waits, so that a burst of audio cannot hold back an interruption behind it.
    ``run`` must be running meanwhile; it owns every task of the session. ``used`` only grows, and
    is complete once ``run`` is over.
    """

    used: Used

    def handle(self, event: EngineInput) -> None:
        """Take one input, in the order in which it came."""

    async def run(self) -> None:
        """Work until ``EndInput`` was handled and the reply under way is finished.

        Cancelling it ends the session at once.
        """

    async def output(self) -> EngineOutput | None:
        """Return the next output, or None once the session has ended. One reader only."""

    def close(self) -> None:
        """Give back what the session holds, even if it never ran. Idempotent."""


class Engine(Protocol):
    """Opens live sessions."""

    @property
    def description(self) -> EngineDescription:
        """What it is and can do."""

    def open(self, config: SessionConfig) -> EngineSession:
        """Start a session. Raises ``ProviderBusyError`` when there is no room for it."""
