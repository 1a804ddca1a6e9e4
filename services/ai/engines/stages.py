"""Where the silence before an answer went."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.ai.engine import Stage, StageKind
from services.ai.fallback import Capability, Switch


@dataclass(slots=True)
class Marks:
    """When things happened, on the monotonic clock, in seconds; None: not yet.

    ``switches`` are the fallbacks that served on the way.
    """

    speech_end: float
    decision: float | None = None
    transcript: float | None = None
    first_token: float | None = None
    first_clause: float | None = None
    first_audio: float | None = None
    switches: list[Switch] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StageNames:
    """The providers that stages are credited to, such as "local/moonshine-base"."""

    turn_detector: str = ""
    recognizer: str = ""
    language_model: str = ""
    synthesizer: str = ""


# The stage that a capability's failure lengthens first.
_SWITCHED = {
    Capability.RECOGNIZER: StageKind.TRANSCRIPT,
    Capability.LANGUAGE_MODEL: StageKind.FIRST_TOKEN,
    Capability.SYNTHESIZER: StageKind.FIRST_AUDIO,
}


def describe_stages(marks: Marks, names: StageNames, now: float) -> tuple[Stage, ...]:
    """Return the stages up to ``now``, when the first audio leaves.

    Their durations add up to the silence: work that was over before the stage's predecessor, as
    speculation's is, took the learner no time and has a duration of 0.
    """
    moments = (
        (StageKind.ENDPOINT, marks.decision, names.turn_detector),
        (StageKind.TRANSCRIPT, marks.transcript, names.recognizer),
        (StageKind.FIRST_TOKEN, marks.first_token, names.language_model),
        (StageKind.FIRST_CLAUSE, marks.first_clause, names.language_model),
        (StageKind.FIRST_AUDIO, now, names.synthesizer),
    )
    switches: dict[StageKind, list[Switch]] = {}
    for switch in marks.switches:
        switches.setdefault(_SWITCHED[switch.capability], []).append(switch)
    stages = []
    reached = marks.speech_end
    for kind, moment, provider in moments:
        if moment is None:
            continue
        waited = max(0.0, moment - reached)
        reached = max(reached, moment)
        stages.append(
            Stage(
                kind=kind,
                duration_ms=waited * 1000,
                at_ms=(moment - marks.speech_end) * 1000,
                provider=switches[kind][-1].served if kind in switches else provider,
                # Several clauses may have met the same failure.
                note="; ".join(dict.fromkeys(each.note for each in switches.get(kind, ()))),
            )
        )
    return tuple(stages)
