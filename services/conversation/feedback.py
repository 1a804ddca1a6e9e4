"""Feedback on what the learner said: asked for beside the talk, told once the turn is stored.

Never on the way to a reply: a turn is looked at when the first sound of its reply has been sent, or
later, and the ai service does it in idle time. It is also the first thing to be left out: there is
none for turns for which nobody has time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

from parley.types.v1 import feedback_pb2, learner_pb2, speech_pb2, turn_pb2
from services.common.errors import ParleyError

_log = structlog.get_logger(__name__)

# Utterances of the whole process that are being looked at. Full policy: the next gets no feedback.
MAX_UNDER_WAY = 32

# Turns that are remembered as stored, or with what was found before they were: a turn is stored
# seconds after its reply began. Full policy: the oldest is forgotten, and not told of.
_REMEMBERED = 16


class Assessor(Protocol):
    """Where feedback comes from."""

    async def assess(
        self,
        engine: str,
        utterance: speech_pb2.Transcript,
        profile: learner_pb2.LearnerProfile,
        user_id: str,
    ) -> feedback_pb2.Feedback:
        """Return what there is to say of `utterance`; mostly nothing. `user_id`: who pays for it.

        Raises:
            ParleyError: nobody can, or has the time.
        """
        ...


class Assessments:
    """The utterances that are being looked at, of all sessions."""

    def __init__(
        self, assessor: Assessor, later: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        """`later` runs what may outlive its session."""
        self._assessor = assessor
        self._later = later
        self._under_way = 0

    def begin(
        self,
        engine: str,
        utterance: speech_pb2.Transcript,
        profile: learner_pb2.LearnerProfile,
        user_id: str,
        found: Callable[[feedback_pb2.Feedback], None],
    ) -> None:
        """Have `utterance` looked at; `found` is called with what there is to say, if anything."""
        if self._under_way >= MAX_UNDER_WAY:
            return
        self._under_way += 1
        self._later(self._assess(engine, utterance, profile, user_id, found))

    async def _assess(
        self,
        engine: str,
        utterance: speech_pb2.Transcript,
        profile: learner_pb2.LearnerProfile,
        user_id: str,
        found: Callable[[feedback_pb2.Feedback], None],
    ) -> None:
        try:
            feedback = await self._assessor.assess(engine, utterance, profile, user_id)
        except ParleyError as error:
            # Nobody is told: a turn without feedback is the usual thing.
            _log.info("turn_not_assessed", reason=error.reason)
            return
        finally:
            self._under_way -= 1
        if feedback.corrections or feedback.scores:
            found(feedback)


class TurnFeedback:
    """The feedback of one session's turns.

    Args:
        assessments: where it is asked for.
        engine: whose models look at it.
        profile: the learner.
        user_id: the learner's id, whose daily budget pays for it.
        tell: called once for a turn that is stored and of which there is something to say.
    """

    def __init__(
        self,
        assessments: Assessments,
        engine: str,
        profile: learner_pb2.LearnerProfile,
        user_id: str,
        tell: Callable[[turn_pb2.Turn, feedback_pb2.Feedback], None],
    ) -> None:
        self._assessments = assessments
        self._engine = engine
        self._profile = profile
        self._user_id = user_id
        self._tell = tell
        self._asked = ""
        # By turn id: what was found before the turn was stored, or None once it is.
        self._known: OrderedDict[str, feedback_pb2.Feedback | None] = OrderedDict()

    def look_at(self, turn: turn_pb2.Turn) -> None:
        """The reply to `turn` is being heard, or was. Every turn is looked at once."""
        if turn.turn_id == self._asked or not turn.utterance.verbatim:
            return
        self._asked = turn.turn_id
        asked = turn_pb2.Turn(turn_id=turn.turn_id, number=turn.number)
        self._assessments.begin(
            self._engine,
            turn.utterance,
            self._profile,
            self._user_id,
            lambda feedback: self._found(asked, feedback),
        )

    def stored(self, turn: turn_pb2.Turn) -> None:
        """`turn` is stored: from now on its feedback may be told."""
        feedback = self._known.pop(turn.turn_id, None)
        self._remember(turn.turn_id, None)
        if feedback is not None:
            self._tell(turn, feedback)

    def _found(self, turn: turn_pb2.Turn, feedback: feedback_pb2.Feedback) -> None:
        if turn.turn_id in self._known:
            self._tell(turn, feedback)
        else:
            self._remember(turn.turn_id, feedback)

    def _remember(self, turn_id: str, feedback: feedback_pb2.Feedback | None) -> None:
        self._known[turn_id] = feedback
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
