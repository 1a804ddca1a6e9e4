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

_AFTER_SENDING = frozenset({turn_pb2.STAGE_KIND_RECEIVED, turn_pb2.STAGE_KIND_PLAYED})

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
    stages: Sequence[turn_pb2.Stage],
    play_delay_ms: float | None,
    received_ms: float | None = None,
) -> list[turn_pb2.Stage]:
    """Return `stages` with what came after the sending, as far as it is known.

    Args:
        stages: as `join_stages` gives them.
        play_delay_ms: from receiving the audio until it sounded, as the client reported.
        received_ms: the network, both ways. The learner's voice took one of them before the server
            knew of its end, and the audio the other, so all of it is silence to the learner.
    """
    if not stages:
        return []
    after = [
        (turn_pb2.STAGE_KIND_RECEIVED, received_ms),
        (turn_pb2.STAGE_KIND_PLAYED, play_delay_ms),
    ]
    whole = list(stages)
    for kind, duration_ms in after:
        if duration_ms is not None:
            at_ms = silence_of(whole) + duration_ms
            whole.append(turn_pb2.Stage(kind=kind, duration_ms=duration_ms, at_ms=at_ms))
    return whole


def silence_of(stages: Sequence[turn_pb2.Stage]) -> float:
    """Return the silence that the stages are of, in milliseconds: where the last of them ends."""
    return max((stage.at_ms for stage in stages), default=0.0)


def without_playing(stages: Sequence[turn_pb2.Stage]) -> list[turn_pb2.Stage]:
    """Return the stages up to the sending: those that need no client to be known."""
    return [stage for stage in stages if stage.kind not in _AFTER_SENDING]
