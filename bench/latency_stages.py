"""The wait for an answer of Parley's, split into its parts."""

from __future__ import annotations

from dataclasses import dataclass

from bench.live import Answer
from parley_cli.stages import PLAYED, RECEIVED, UNACCOUNTED, split_silence, stage_views
from parley_cli.stages import STAGES as ALL_STAGES

RECONCILED_MS = 30.0
"""What of a wait its parts may leave unexplained: a frame of the microphone's, and some network."""


@dataclass(frozen=True, slots=True)
class MeasuredTurn:
    """One answered recording: the wait and its parts, which add up to it, in milliseconds."""

    recording: str
    voice_to_voice_ms: float
    stages: dict[str, float]

    @property
    def is_reconciled(self) -> bool:
        """Whether the parts that were measured explain the wait, to `RECONCILED_MS`."""
        return abs(self.stages.get(UNACCOUNTED, 0.0)) <= RECONCILED_MS


def stages_of(answer: Answer) -> dict[str, float]:
    """Split the wait into its parts, as `parley talk` does.

    `received` is what this side sees alone: the reply's own lead-in before its first audible
    sample. The way there and back is not measured, so it is in `unaccounted`; nothing is played
    here.

    Raises:
        ValueError: the recording was not answered.
    """
    reply, silence_ms = answer.reply, answer.silence_ms
    if reply is None or silence_ms is None or reply.first_audio_at is None:
        raise ValueError("not answered")
    turn = next(each for each in answer.turns if each.number == reply.turn)
    assert reply.sounding_at is not None
    parts: dict[str, float] = {}
    for stage in split_silence(
        silence_ms,
        stage_views(reply.stages),
        end_late_ms=turn.end_ms - answer.speech_end_ms,
        own_ms={RECEIVED: (reply.sounding_at - reply.first_audio_at) * 1000},
    ):
        parts[stage.name] = parts.get(stage.name, 0.0) + stage.duration_ms
    return parts


STAGES = tuple(name for name in ALL_STAGES if name != PLAYED)
"""The parts, in their order."""
