"""What a session begins with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from parley.ai.v1 import ai_pb2
from parley.types.v1 import learner_pb2, turn_pb2
from services.conversation import events


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session begins with.

    started_at: the time of day of the session's origin.
    elapsed_s: how long it has been going already; more than 0 where it was resumed from storage.
    past: its stored turns, in that case; accounted_ms, accounted_seq: as in `SaveTurn`, of the
        last of them.
    broken_off: the turn after them, whose process died while its reply was heard. `next_turn` and
        `context` have it already; it is told and stored first of all.
    """

    conversation_id: str
    engine: str
    started_at: datetime
    output_rate_hz: int
    turn_taking: learner_pb2.TurnTakingPreferences
    captions_only: bool = False
    tutor_opens: bool = False
    next_turn: int = 1
    last_generation: int = 0
    context: tuple[ai_pb2.ContextTurn, ...] = ()
    elapsed_s: float = 0.0
    past: tuple[turn_pb2.Turn, ...] = ()
    accounted_ms: int = 0
    accounted_seq: int = 0
    broken_off: events.SaveTurn | None = None
    session_s: float = 7_200
    idle_s: float = 300
    resume_s: float = 120
    reply_timeout_s: float = 30


def preferences_with(
    wished: learner_pb2.TurnTakingPreferences, before: learner_pb2.TurnTakingPreferences
) -> learner_pb2.TurnTakingPreferences:
    """Return the preferences from before with what is wished for now laid over them."""
    merged = learner_pb2.TurnTakingPreferences()
    merged.CopyFrom(before)
    merged.MergeFrom(wished)
    return merged
