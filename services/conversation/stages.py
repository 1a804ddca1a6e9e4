"""The parts of the silence before an answer, joined so that they add up to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from parley.types.v1 import turn_pb2

_ENGINE_STAGES = frozenset(
    {
        turn_pb2.STAGE_KIND_ENDPOINT,
        turn_pb2.STAGE_KIND_TRANSCRIPT,
        turn_pb2.STAGE_KIND_FIRST_TOKEN,
        turn_pb2.STAGE_KIND_FIRST_CLAUSE,
        turn_pb2.STAGE_KIND_FIRST_AUDIO,
    }
)

# Parts are differences of one clock: what is less than this is noise of their numbers.
_ROUNDING_MS = 0.05


def join_stages(
    engine: Sequence[turn_pb2.Stage], *, sent_ms: float, silence_ms: float
) -> list[turn_pb2.Stage]:
    """Return the stages up to the sending of the first audio, adding up to `silence_ms`.

    Args:
        engine: the engine's own, in their order; any other kind among them is left out.
        sent_ms: from the arrival of the engine's first audio here until it was sent.
        silence_ms: from the end of the learner's speech, as it arrived here, until then.

    What the parts do not explain is UNACCOUNTED. Parts that explain more than there was are told
    in its note: durations are not negative.
    """
    stages = [stage for stage in engine if stage.kind in _ENGINE_STAGES]
    stages.append(
        turn_pb2.Stage(
            kind=turn_pb2.STAGE_KIND_SENT, duration_ms=max(0.0, sent_ms), at_ms=silence_ms
        )
    )
    rest = silence_ms - sum(stage.duration_ms for stage in stages)
    unaccounted = turn_pb2.Stage(
        kind=turn_pb2.STAGE_KIND_UNACCOUNTED, duration_ms=max(0.0, rest), at_ms=silence_ms
    )
    if rest < -_ROUNDING_MS:
        unaccounted.note = f"the parts exceed the silence by {-rest:.1f} ms"
    stages.append(unaccounted)
    return stages


def with_playing(
    stages: Sequence[turn_pb2.Stage], play_delay_ms: float | None
) -> list[turn_pb2.Stage]:
    """Return `stages` with what the client reported: from receiving the audio until it sounded."""
    if play_delay_ms is None or not stages:
        return list(stages)
    played = turn_pb2.Stage(
        kind=turn_pb2.STAGE_KIND_PLAYED,
        duration_ms=play_delay_ms,
        at_ms=silence_of(stages) + play_delay_ms,
    )
    return [*stages, played]


def silence_of(stages: Sequence[turn_pb2.Stage]) -> float:
    """Return the silence that the stages are of, in milliseconds: where the last of them ends."""
    return max((stage.at_ms for stage in stages), default=0.0)


def without_playing(stages: Sequence[turn_pb2.Stage]) -> list[turn_pb2.Stage]:
    """Return the stages up to the sending: those that the server measured itself."""
    return [stage for stage in stages if stage.kind != turn_pb2.STAGE_KIND_PLAYED]
