"""What the ai service needs of a speech-to-speech model: one that hears and speaks by itself.

The model is told when somebody speaks and when their turn is over; it decides neither. So turns
are taken, given back and interrupted as with any other engine. A connection (``SpeechLink``) is
one conversation at the provider's, which may end at any time: what was said is kept here, and the
next connection is told of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from services.ai.capabilities import Message, Pcm16, Voice


@dataclass(frozen=True, slots=True)
class SpeechModelCapabilities:
    """What a speech-to-speech model can do.

    ``partials``: words come while they are said, not only at pauses. ``session_s`` is how long one
    connection may be used. ``context_tokens`` is how much of a conversation it is told.
    ``first_s`` is how long a reply may take to begin, ``next_s`` how long it may stand still.
    """

    output_rate_hz: int
    voices: tuple[Voice, ...]
    languages: tuple[str, ...]
    partials: bool
    session_s: float
    context_tokens: int
    max_sessions: int
    first_s: float
    next_s: float


@dataclass(frozen=True, slots=True)
class Briefing:
    """What a connection begins with: the rules, what was said so far, and how the tutor sounds.

    ``said`` are the turns so far, oldest first, in alternating roles. ``voice`` may be empty.
    """

    instructions: str
    said: tuple[Message, ...]
    voice: str
    speed: float


class AskKind(StrEnum):
    """What a reply is to."""

    UTTERANCE = "utterance"
    TEXT = "text"
    LINE = "line"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class Ask:
    """Asks for a reply, which is called by ``generation`` from then on.

    ``text`` is what was typed (TEXT), what to say word for word (LINE), or what to do (PROMPT).
    ``aloud`` false: nobody will listen, only the text is wanted.
    """

    generation: int
    kind: AskKind
    text: str = ""
    aloud: bool = True


# --- what comes of it -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LearnerWords:
    """All words of the utterance so far; ``settled`` when all that was sent is in them.

    ``over``: it is the utterance that the last reply was asked for, not one that came after it.
    """

    text: str
    settled: bool
    over: bool = False


@dataclass(frozen=True, slots=True)
class WordsFailed:
    """The utterance could not be written down, although it can be answered."""

    message: str


@dataclass(frozen=True, slots=True)
class TutorWords:
    """The next words of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class TutorAudio:
    """The next speech of the reply: int16 little-endian mono PCM, whole samples."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """The reply is complete. The tokens are 0 where they are not told."""

    output_tokens: int = 0
    input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The provider will end this connection soon."""


SpeechEvent: TypeAlias = (
    LearnerWords | WordsFailed | TutorWords | TutorAudio | ReplyDone | GoingAway
)


# --- the interface --------------------------------------------------------------------------


class SpeechLink(Protocol):
    """One connection. Every method raises ``ProviderError`` once it is of no use any more."""

    async def hear(self, audio: Pcm16) -> None:
        """Send the next audio of the utterance, at 16 kHz; the first begins one."""

    async def pause(self) -> None:
        """The learner is silent: have the words so far written down."""

    async def reply(self, ask: Ask) -> None:
        """Have the model reply; an utterance under way is over with it."""

    async def stop(self, generation: int, heard_ms: int) -> bool:
        """End that reply where it is not over, and have the model forget what was not heard.

        Returns False where it cannot forget: a new connection has to be told what was heard.
        """

    async def forget(self) -> bool:
        """Forget the utterance under way; False where it cannot."""

    def events(self) -> AsyncIterator[SpeechEvent]:
        """Yield what comes, of the last reply only. Ends or raises when the connection is lost."""

    async def aclose(self) -> None:
        """Hang up. Idempotent; raises nothing."""


class SpeechModel(Protocol):
    """Makes connections."""

    @property
    def capabilities(self) -> SpeechModelCapabilities:
        """What this provider can do."""

    async def connect(self, briefing: Briefing) -> SpeechLink:
        """Begin a conversation. Raises ``ProviderError``."""
