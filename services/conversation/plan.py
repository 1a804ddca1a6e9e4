"""What one session is to be, and what all sessions of the process share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import feedback_pb2, learner_pb2, scenario_pb2, turn_pb2
from services.common.clock import Clock
from services.common.errors import ParleyError
from services.common.limits import Limits
from services.conversation.adapters.engine import Engines
from services.conversation.events import SaveTurn
from services.conversation.feedback import Assessments
from services.conversation.journal import Journal
from services.conversation.metrics import ConversationMetrics
from services.conversation.recorder import Recordings


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What bounds a session; told to the client in `started.limits`."""

    session_s: float
    idle_s: float
    utterance_ms: int
    audio_message_ms: int
    resume_s: float
    audio_ahead_ms: int
    audio_held_back_s: float
    message_bytes: int
    messages_per_s: int

    @classmethod
    def of(cls, limits: Limits, resume_s: float) -> SessionLimits:
        """Take them from the process's limits."""
        return cls(
            session_s=limits.conversation_max_seconds,
            idle_s=limits.conversation_idle_seconds,
            utterance_ms=limits.max_utterance_ms,
            audio_message_ms=limits.max_audio_message_ms,
            resume_s=resume_s,
            audio_ahead_ms=limits.max_audio_ahead_ms,
            audio_held_back_s=limits.audio_held_back_seconds,
            message_bytes=limits.max_stream_message_bytes,
            messages_per_s=limits.max_messages_per_second,
        )

    def to_message(self) -> conversation_pb2.SessionLimits:
        """Return them as the client is told."""
        return conversation_pb2.SessionLimits(
            session_s=int(self.session_s),
            idle_s=int(self.idle_s),
            utterance_ms=self.utterance_ms,
            audio_message_ms=self.audio_message_ms,
            resume_s=int(self.resume_s),
            audio_ahead_ms=self.audio_ahead_ms,
            message_bytes=self.message_bytes,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What one session is to be.

    handle: what the client resumes with; `handle_hash` what is stored of it.
    stored: it is in the database already: resumed from there, with the turns of its `past`.
    accounted_ms: the learner's audio up to here, on the session's time line, is settled;
        accounted_seq: and the messages up to this number.
    corrections: of the learner's frequent mistakes, for the tutor to come back to.
    broken_off: the turn in which the process died that held the session before, as far as it was
        heard; it is to be stored.
    """

    conversation_id: str
    user_id: str
    handle: str = field(repr=False)
    handle_hash: bytes = field(repr=False)
    start: conversation_pb2.StartSession
    scenario: scenario_pb2.Scenario
    profile: learner_pb2.LearnerProfile
    turn_taking: learner_pb2.TurnTakingPreferences
    voice: str
    input_rate_hz: int
    recording_id: str
    started_at: datetime
    limits: SessionLimits
    stored: bool = False
    elapsed_s: float = 0.0
    next_turn: int = 1
    last_generation: int = 0
    last_seq: int = 0
    past: tuple[turn_pb2.Turn, ...] = ()
    accounted_ms: int = 0
    accounted_seq: int = 0
    broken_off: SaveTurn | None = None
    context: tuple[ai_pb2.ContextTurn, ...] = ()
    first_notices: tuple[ParleyError, ...] = ()
    corrections: tuple[feedback_pb2.Correction, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every session of the process shares.

    later: runs what a session leaves undone, after it.
    """

    engines: Engines
    recordings: Recordings
    assessments: Assessments
    journal: Journal
    clock: Clock
    metrics: ConversationMetrics
    max_kept_responses: int
    reply_timeout_s: float
    later: Callable[[Coroutine[Any, Any, None]], None]
