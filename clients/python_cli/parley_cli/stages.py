"""The silence before an answer, part by part. Pure.

The server tells the parts that it sees. The rest only this side knows: where the speech truly
ended, what the network took, when the first sound came. Joined here they add up to the silence that
was measured; what they do not explain is told as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from parley.types.v1 import turn_pb2

ENDPOINT, RECEIVED, PLAYED, UNACCOUNTED = "endpoint", "received", "played", "unaccounted"
STAGES = (
    ENDPOINT,
    "transcript",
    "first_token",
    "first_clause",
    "first_audio",
    "sent",
    RECEIVED,
    PLAYED,
    UNACCOUNTED,
)
"""Every part, in their order."""

# Only this side sees these; what a server puts there is a guess.
_OWN = frozenset({RECEIVED, PLAYED, UNACCOUNTED})


@dataclass(frozen=True, slots=True)
class StageView:
    """One part of the silence before a reply."""

    name: str
    duration_ms: float
    note: str = ""


def stage_views(stages: Iterable[turn_pb2.Stage]) -> tuple[StageView, ...]:
    """Name the server's stages for people."""
    return tuple(
        StageView(
            turn_pb2.StageKind.Name(stage.kind).removeprefix("STAGE_KIND_").lower(),
            stage.duration_ms,
            stage.note,
        )
        for stage in stages
    )


def split_silence(
    silence_ms: float,
    server: Iterable[StageView],
    *,
    end_late_ms: float = 0.0,
    own_ms: Mapping[str, float],
) -> tuple[StageView, ...]:
    """Return the parts of a silence; they add up to `silence_ms`.

    Args:
        silence_ms: the whole, from the true end of speech on.
        server: the server's parts, in its order.
        end_late_ms: how far behind the true end of speech the server took it to be; negative where
            before. Deciding that the learner has finished begins when the learner has finished: a
            voice activity detector that hears the end late has not made the wait shorter, and what
            was done while the learner still spoke is no part of the silence.
        own_ms: the parts that were measured here, by name, in their order.
    """
    stages = _from_true_end([each for each in server if each.name not in _OWN], end_late_ms)
    stages += [StageView(name, duration_ms) for name, duration_ms in own_ms.items()]
    rest_ms = silence_ms - sum(stage.duration_ms for stage in stages)
    return (*stages, StageView(UNACCOUNTED, rest_ms))


def _from_true_end(server: Iterable[StageView], end_late_ms: float) -> list[StageView]:
    late_ms, early_ms = max(end_late_ms, 0.0), max(-end_late_ms, 0.0)
    stages = []
    for stage in server:
        duration_ms = stage.duration_ms + (late_ms if stage.name == ENDPOINT else 0.0)
        before_ms = min(duration_ms, early_ms)
        early_ms -= before_ms
        stages.append(replace(stage, duration_ms=duration_ms - before_ms))
    return stages
