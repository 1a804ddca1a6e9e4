"""What happens in a talk beyond the session's own events, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from parley_cli.session import Event, SessionView
from parley_cli.stages import StageView


@dataclass(frozen=True, slots=True)
class UtteranceBegan:
    """A recording begins to be spoken, at a place on the session's time line."""

    index: int
    file: str
    start_ms: float


@dataclass(frozen=True, slots=True)
class UtteranceSent:
    """A recording was spoken to its end.

    `speech_end_ms` is where its speech truly ends on the session's time line (by energy), None
    where the recording holds no speech.
    """

    index: int
    file: str
    end_ms: float
    speech_end_ms: float | None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came within the time allowed."""

    index: int
    file: str
    waited_s: float


@dataclass(frozen=True, slots=True)
class TurnMeasured:
    """The silence before a reply, as this side measured it.

    Attributes:
        turn, generation: which reply.
        voice_to_voice_ms: true end of speech in the sent audio to the arrival of the first
            audible sample of the reply.
        silence_ms: the same up to the loudspeaker.
        speech_end_ms: the end of speech that was counted from, on the session's time line.
        speech_end_source: "waveform", "server", "typed" or "unknown".
        server_speech_end_ms: where the server put it; None where it said nothing.
        lead_in_ms: silence at the beginning of the reply's audio.
        stages: the parts; they add up to `silence_ms`.
    """

    turn: int
    generation: int
    voice_to_voice_ms: float | None
    silence_ms: float | None
    speech_end_ms: float | None
    speech_end_source: str
    server_speech_end_ms: float | None
    lead_in_ms: float
    stages: tuple[StageView, ...]


TalkEvent = Event | UtteranceBegan | UtteranceSent | Unanswered | TurnMeasured


class Presenter(Protocol):
    """Shows a talk. Called from the event loop; must not block."""

    def on_event(self, event: TalkEvent, view: SessionView, at_ms: float) -> None:
        """Show an event. `view` is after it; `at_ms` is milliseconds since the talk began."""
        ...

    def on_level(self, level_dbfs: float) -> None:
        """Show how loud the microphone is."""
        ...

    def close(self, view: SessionView) -> None:
        """Show the end: the last word to the terminal."""
        ...
