"""Feedback on a learner's words, of the ai service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parley.ai.v1 import ai_pb2
from parley.types.v1 import feedback_pb2, learner_pb2, speech_pb2
from services.common.status import rpc_errors

if TYPE_CHECKING:
    from parley.ai.v1.ai_pb2_grpc import AiServiceAsyncStub

# It is found while the models have nothing else to do. What is told later than this is about
# something that the learner no longer remembers saying.
_TIMEOUT_S = 60.0


class GrpcAssessor:
    """See `feedback.Assessor`."""

    def __init__(self, stub: AiServiceAsyncStub) -> None:
        self._stub = stub

    async def assess(
        self,
        engine: str,
        utterance: speech_pb2.Transcript,
        profile: learner_pb2.LearnerProfile,
        user_id: str,
    ) -> feedback_pb2.Feedback:
        """Return what there is to say of an utterance. See `feedback.Assessor`."""
        config = ai_pb2.AssessConfig(
            transcript=utterance, profile=profile, engine=engine, user_id=user_id
        )
        with rpc_errors("ai"):
            response = await self._stub.Assess(
                iter([ai_pb2.AssessRequest(config=config)]), timeout=_TIMEOUT_S
            )
        feedback: feedback_pb2.Feedback = response.feedback
        return feedback
