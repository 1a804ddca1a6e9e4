"""The wait for an answer of Parley's, split into its parts."""

from __future__ import annotations

from dataclasses import dataclass

from bench.live import Answer
from parley.types.v1 import turn_pb2

_END_DETECTED = "end_detected"
_RECEIVED = "received"
_UNACCOUNTED = "unaccounted"


@dataclass(frozen=True, slots=True)
class MeasuredTurn:
    """One answered recording: the wait and its parts, which add up to it, in milliseconds."""

    recording: str
    voice_to_voice_ms: float
    stages: dict[str, float]

    def fields(self) -> dict[str, object]:
        """Return it as JSON fields."""
        return {
            "recording": self.recording,
            "voice_to_voice_ms": round(self.voice_to_voice_ms, 1),
            "stages": {name: round(value, 1) for name, value in self.stages.items()},
        }


def stages_of(answer: Answer) -> dict[str, float]:
    """Split the wait into its parts.

    Raises:
        ValueError: the recording was not answered.
    """
    reply, silence_ms = answer.reply, answer.silence_ms
    if reply is None or silence_ms is None or reply.first_audio_at is None:
        raise ValueError("not answered")
    turn = next(each for each in answer.turns if each.number == reply.turn)
    parts = {_END_DETECTED: turn.end_ms - answer.speech_end_ms}
    for stage in reply.stages:
        if stage.kind in _SERVER_STAGES:
            name = _SERVER_STAGES[stage.kind]
            parts[name] = parts.get(name, 0.0) + stage.duration_ms
    assert reply.sounding_at is not None
    # What the client alone sees: the reply's own lead-in before its first audible sample.
    parts[_RECEIVED] = (reply.sounding_at - reply.first_audio_at) * 1000
    parts[_UNACCOUNTED] = silence_ms - sum(parts.values())
    return parts


_SERVER_STAGES = {
    turn_pb2.STAGE_KIND_ENDPOINT: "endpoint",
    turn_pb2.STAGE_KIND_TRANSCRIPT: "transcript",
    turn_pb2.STAGE_KIND_FIRST_TOKEN: "first_token",
    turn_pb2.STAGE_KIND_FIRST_CLAUSE: "first_clause",
    turn_pb2.STAGE_KIND_FIRST_AUDIO: "first_audio",
    turn_pb2.STAGE_KIND_SENT: "sent",
}
STAGES = (_END_DETECTED, *_SERVER_STAGES.values(), _RECEIVED, _UNACCOUNTED)
"""The parts, in their order."""
