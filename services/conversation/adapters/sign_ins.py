"""Sign-ins, asked of the user service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parley.user.v1 import user_pb2
from services.common.status import rpc_errors

if TYPE_CHECKING:
    from parley.user.v1.user_pb2_grpc import UserServiceAsyncStub

# An answer takes milliseconds; the next question comes in two seconds.
_TIMEOUT_S = 1.5


class GrpcSignIns:
    """`services.conversation.sign_ins.SignIns` over the user service."""

    def __init__(self, user: UserServiceAsyncStub) -> None:
        self._user = user

    async def ended(self, session_ids: Sequence[str]) -> set[str]:
        """Return those that are over. See `SignIns`."""
        request = user_pb2.FindEndedSessionsRequest(session_ids=session_ids)
        with rpc_errors("user"):
            response = await self._user.FindEndedSessions(request, timeout=_TIMEOUT_S)
        return set(response.ended)
