"""What the ai service needs of a provider: one small protocol a capability.

A provider implements one of these protocols in one file under ``adapters`` and is named in
``registry.py``. Each capability carries a frozen dataclass that says what the provider can do, so
that callers ask instead of guessing.

Audio that comes from the learner is int16 mono PCM at 16 kHz everywhere in this service
(``LEARNER_RATE_HZ``); audio that a synthesizer makes has the rate that its capabilities name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Pcm16: TypeAlias = npt.NDArray[np.int16]
"""Signed 16-bit mono samples."""

# Silero, Smart Turn and Moonshine are all trained at 16 kHz; so is what the gateway accepts.
LEARNER_RATE_HZ = 16_000


class ProviderError(Exception):
    """A provider failed.

    ``retryable`` says that the same call may well succeed later. ``elsewhere`` says that another
    provider may succeed where this one did not, which is what a chain asks; unless it is said, it
    is the same.

    The message is shown to people: it names the provider and what happened, and never what was said
    or a key.
    """

    def __init__(self, message: str, *, retryable: bool, elsewhere: bool | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.elsewhere = retryable if elsewhere is None else elsewhere


class ProviderBusyError(ProviderError):
    """The provider has no free slot now; waiting helps.

    ``retry_after_s`` is how long it asks to be left alone; None where it does not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retryable=True)
        self.retry_after_s = retry_after_s


class ProviderTimeoutError(ProviderError):
    """The provider took longer than anybody waits."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class ProviderRefusedError(ProviderError):
    """The provider refuses the key, the account or the model: somebody has to mend the settings."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False, elsewhere=True)


# --- voice activity -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VoiceActivityCapabilities:
    """``frame_samples``: how many samples at 16 kHz one call takes, neither more nor fewer."""

    frame_samples: int


class VoiceActivityStream(Protocol):
    """The voice activity of one session; it keeps the model's state between frames."""

    def probability(self, frame: Pcm16) -> float:
        """Return how likely ``frame`` (exactly ``frame_samples``) holds speech, 0 to 1.

        Called on the event loop for every frame: it must take well under a millisecond.
        """

    def reset(self) -> None:
        """Forget what was heard."""


class VoiceActivityDetector(Protocol):
    """Says where in a stream of audio somebody speaks."""

    @property
    def capabilities(self) -> VoiceActivityCapabilities:
        """What this provider can do."""

    def open(self) -> VoiceActivityStream:
        """Start listening for one session."""


# --- end of turn ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnDetectorCapabilities:
    """``window_s``: how many of the last seconds of audio are looked at."""

    window_s: float


class TurnDetector(Protocol):
    """Says how likely it is that a speaker who pauses has finished."""

    @property
    def capabilities(self) -> TurnDetectorCapabilities:
        """What this provider can do."""

    async def end_of_turn(self, audio: Pcm16) -> float:
        """Return the probability that ``audio`` (up to the pause) is a finished turn, 0 to 1."""


# --- recognition ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised or spoken word; times are milliseconds from the start of its audio."""

    text: str
    start_ms: int
    end_ms: int
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. ``verbatim`` keeps fillers and repetitions; ``clean`` is for the model.

    ``words`` are those of ``verbatim``; ``confidence`` is 0 to 1; ``audio_ms`` is how much audio
    it covers. Nothing recognised is an empty ``verbatim``, not an error.
    """

    verbatim: str
    clean: str
    words: tuple[Word, ...] = ()
    confidence: float = 0.0
    audio_ms: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether no word was recognised."""
        return not self.verbatim


EMPTY_TRANSCRIPT = Transcript(verbatim="", clean="")


class WordTiming(StrEnum):
    """How a provider knows when a word was spoken."""

    NONE = "none"
    ESTIMATED = "estimated"
    ALIGNED = "aligned"


@dataclass(frozen=True, slots=True)
class RecognizerCapabilities:
    """What a recognizer can do. ``languages`` are BCP 47 tags; ``max_audio_s`` bounds one call."""

    partials: bool
    word_timing: WordTiming
    word_confidence: bool
    languages: tuple[str, ...]
    max_audio_s: float


class RecognitionSession(Protocol):
    """The recognition of one utterance. Feed it as audio comes; ask when you like."""

    def feed(self, audio: Pcm16) -> None:
        """Add audio. Cheap; does not recognise."""

    async def partial(self) -> str | None:
        """Return the words so far, fast and roughly; None when the machine has no time for it."""

    async def final(self) -> Transcript:
        """Return the careful transcript of everything fed so far.

        The session stays open: after more audio, ``final`` may be asked again.
        """

    def close(self) -> None:
        """Give back what the session holds. Idempotent."""


@runtime_checkable
class HearsAgain(RecognitionSession, Protocol):
    """A recognition that can hear its utterance once more, with care that nobody can wait for."""

    @property
    def again_by(self) -> str:
        """Who hears it again; empty: nobody does."""

    async def again(self, expected: Collection[str]) -> Transcript | None:
        """Return a better transcript of everything fed; None when there is none, or no time.

        ``expected`` are words in lower case that the talk is about: a wish, not a vocabulary.
        Takes what others leave of the machine, and may take seconds. Cancelling it is safe.
        Raises ``ProviderError``.
        """


class Recognizer(Protocol):
    """Turns speech into words."""

    @property
    def capabilities(self) -> RecognizerCapabilities:
        """What this provider can do."""

    def open(self) -> RecognitionSession:
        """Start recognising one utterance."""


# --- language model -------------------------------------------------------------------------


class Role(StrEnum):
    """Who says a message of a prompt."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to sample. ``stop`` ends the text before the first of these strings.

    ``not_first`` are words that the text should not begin with: a wish, which models that are
    reached over a network do not know. So is ``not_without``: a text that would end before it holds
    this goes on, once.
    """

    temperature: float = 0.6
    top_p: float = 0.9
    max_tokens: int = 90
    stop: tuple[str, ...] = ()
    seed: int | None = None
    not_first: tuple[str, ...] = ()
    not_without: str = ""


@dataclass(frozen=True, slots=True)
class LanguageModelCapabilities:
    """``context_tokens`` bounds prompt and reply together; ``prompt_cache`` says priming pays."""

    context_tokens: int
    prompt_cache: bool
    max_sessions: int


class LanguageModelSession(Protocol):
    """One conversation's use of a language model, so that its prompt can stay in the cache."""

    async def prime(self, messages: Sequence[Message]) -> None:
        """Evaluate the beginning of a prompt ahead of need. A hint: it may do nothing.

        Raises nothing of its own; cancelling it is safe.
        """

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> AsyncIterator[str]:
        """Yield pieces of the reply as they are made.

        Closing the iterator or cancelling its consumer stops the model at once. Raises
        ``ProviderError``.
        """

    def close(self) -> None:
        """Give back the slot. Idempotent."""


@runtime_checkable
class LanguageModel(Protocol):
    """Writes text."""

    @property
    def capabilities(self) -> LanguageModelCapabilities:
        """What this provider can do."""

    @property
    def writing(self) -> int:
        """How many replies are being written now, those nobody has asked to hear included."""

    def open(self) -> LanguageModelSession:
        """Take a place for one conversation. Raises ``ProviderBusyError`` when all are taken."""

    async def warm(self, messages: Sequence[Message]) -> None:
        """Evaluate what every conversation begins with, before there is one. A hint."""

    def count_tokens(self, text: str) -> int:
        """Return how many tokens ``text`` takes at most, closely enough for a budget."""


@runtime_checkable
class WritesInIdleTime(Protocol):
    """A language model that can write what nobody waits for, at no cost to what somebody does."""

    def open_spare(self) -> LanguageModelSession:
        """Take the one place for it. Raises ``ProviderBusyError`` while it is taken."""

    async def warm_spare(self, messages: Sequence[Message]) -> None:
        """Evaluate what everything in that place begins with, in idle time too. A hint."""


# --- synthesis ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that a synthesizer speaks with."""

    id: str
    language: str
    description: str
    gender: str = ""
    sample_rate_hz: int = 24_000


@dataclass(frozen=True, slots=True)
class SynthesizerCapabilities:
    """``sample_rate_hz`` is the rate of every chunk."""

    sample_rate_hz: int
    word_timing: WordTiming
    voices: tuple[Voice, ...]


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of speech: int16 little-endian mono PCM at the synthesizer's rate.

    ``words`` are the words spoken in it, timed from the chunk's start.
    """

    pcm: bytes
    words: tuple[Word, ...] = field(default=())


class Synthesizer(Protocol):
    """Turns text into speech."""

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """What this provider can do."""

    def stream(self, text: str, voice: str, speed: float) -> AsyncIterator[SpeechChunk]:
        """Yield the speech of ``text``, a clause or more, chunk by chunk.

        ``voice`` is one of ``capabilities.voices`` or empty for the default; ``speed`` is 0.5
        (slow) to 2.0. Raises ``ProviderError``; an unknown voice is not retryable.
        """
