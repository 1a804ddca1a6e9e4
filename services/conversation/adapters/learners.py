"""What the other services know of a learner when a session begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from parley.history.v1 import history_pb2
from parley.types.v1 import feedback_pb2
from parley.user.v1 import user_pb2
from services.common.status import rpc_errors

if TYPE_CHECKING:
    from parley.history.v1.history_pb2_grpc import HistoryServiceAsyncStub
    from parley.user.v1.user_pb2_grpc import UserServiceAsyncStub

# A session's start waits for this; a local answer takes a few milliseconds. Without one the tutor
# goes on with defaults.
_TIMEOUT_S = 1.5

# Mistakes are worth less: they are asked for beside the profile, and nobody waits long for them.
_MISTAKES_TIMEOUT_S = 0.5

# More than a tutor comes back to in one conversation.
_MISTAKES = 10


class Learners(Protocol):
    """Where profiles and mistakes come from."""

    async def account(self) -> user_pb2.Account:
        """Return the account of the learner behind the call in progress.

        Raises:
            ParleyError: it cannot be had.
        """
        ...

    async def mistakes(self) -> list[feedback_pb2.Correction]:
        """Return corrections of what this learner gets wrong, the most frequent mistakes first.

        Raises:
            ParleyError: they cannot be had.
        """
        ...


class GrpcLearners:
    """Profiles of the user service, mistakes of the history service."""

    def __init__(self, user: UserServiceAsyncStub, history: HistoryServiceAsyncStub) -> None:
        self._user = user
        self._history = history

    async def account(self) -> user_pb2.Account:
        """Return the caller's account. See `Learners`."""
        with rpc_errors("user"):
            response = await self._user.GetProfile(user_pb2.GetProfileRequest(), timeout=_TIMEOUT_S)
        account: user_pb2.Account = response.account
        return account

    async def mistakes(self) -> list[feedback_pb2.Correction]:
        """Return the caller's mistakes. See `Learners`."""
        request = history_pb2.ListMistakesRequest(page_size=_MISTAKES)
        with rpc_errors("history"):
            response = await self._history.ListMistakes(request, timeout=_MISTAKES_TIMEOUT_S)
        return [mistake.correction for mistake in response.mistakes]
