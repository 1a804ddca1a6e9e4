"""What the user service knows of a learner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from parley.user.v1 import user_pb2
from services.common.status import rpc_errors

if TYPE_CHECKING:
    from parley.user.v1.user_pb2_grpc import UserServiceAsyncStub

# A session's start waits for this; a local answer takes a few milliseconds. Without one the tutor
# goes on with defaults.
_TIMEOUT_S = 1.5


class Learners(Protocol):
    """Where profiles come from."""

    async def account(self) -> user_pb2.Account:
        """Return the account of the learner behind the call in progress.

        Raises:
            ParleyError: it cannot be had.
        """
        ...


class GrpcLearners:
    """Profiles of the user service."""

    def __init__(self, stub: UserServiceAsyncStub) -> None:
        self._stub = stub

    async def account(self) -> user_pb2.Account:
        """Return the caller's account. See `Learners`."""
        with rpc_errors("user"):
            response = await self._stub.GetProfile(user_pb2.GetProfileRequest(), timeout=_TIMEOUT_S)
        account: user_pb2.Account = response.account
        return account
