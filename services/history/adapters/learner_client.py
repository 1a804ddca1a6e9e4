"""Asks the user service for what it knows of the learner who calls."""

from __future__ import annotations

import grpc.aio

from parley.user.v1.user_pb2 import GetProfileRequest
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.status import rpc_errors

# A local answer takes a few milliseconds, and the learner waits for it.
_TIMEOUT_S = 1.5


class GrpcLearners:
    """`Learners` over the user service, asked with the learner's own token."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._user = UserServiceStub(channel)

    async def time_zone(self) -> str:
        """Return the name of the caller's time zone. See `ports.Learners`."""
        with rpc_errors("user"):
            response = await self._user.GetProfile(GetProfileRequest(), timeout=_TIMEOUT_S)
        return response.account.profile.time_zone
