"""Access tokens that end with their sign-in, though they say nothing of its end.

Without this a token opens what it opens for the rest of its minutes; each service would ask the
user service about every call to know better. Where the services share a Redis, they ask once for
all of them (`services.common.redis.sign_ins`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from parley.user.v1.user_pb2 import FindEndedSessionsRequest
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.auth import AccessTokenVerifier
from services.common.call_context import Caller
from services.common.channel import Peers
from services.common.clock import Clock
from services.common.errors import Unauthenticated, Unavailable
from services.common.status import rpc_errors

_log = structlog.get_logger(__name__)

# Of the 5 s within which a sign-in's end is felt, the Redis's answer may be as old as the others.
_FRESH_SECONDS = 2.0
_REMEMBERED = 10_000
# By so much processes may disagree about a moment: their clocks, and a Redis that takes its time.
_DISAGREEMENT_SECONDS = 3.0
# An answer takes milliseconds; a learner waits for it.
_TIMEOUT_SECONDS = 1.5

Ended = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Returns those of 1,000 sign-ins at most that are over; raises a `ParleyError` when it cannot."""


class SignInsUnknownError(Unavailable):
    """The user service cannot be asked whether sign-ins are over.

    since: what was heard of ends of sign-ins since then, in seconds of the epoch, is still known;
        what was known before may be forgotten. Infinite: all of it may.
    """

    def __init__(self, since: float) -> None:
        super().__init__(
            "Whether your sign-in was ended cannot be told now.",
            reason="PEER_UNAVAILABLE",
            retry_after=1.0,
            metadata={"peer": "user"},
        )
        self.since = since


class EndingWithSignIn:
    """Refuses tokens whose sign-in is over; what else there is to refuse, another verifier does.

    While nobody can tell, a token is taken for what it says: it has minutes left, and a learner
    must not be shut out because the user service restarts. Not so a token from before Redis lost
    what it knew: it may have been refused already, and would be taken again.
    """

    def __init__(self, tokens: AccessTokenVerifier, ended: Ended, clock: Clock) -> None:
        self._tokens = tokens
        self._ended = ended
        self._clock = clock
        self._live_until: OrderedDict[str, float] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """Return the learner that `token` proves; see `AccessTokenVerifier`.

        Raises:
            Unauthenticated: SESSION_ENDED, besides.
            Unavailable: PEER_UNAVAILABLE, it may have ended, and nobody knows any more.
        """
        caller = await self._tokens.verify(token)
        sign_in, now = caller.session_id, self._clock.monotonic()
        if now < self._live_until.get(sign_in, 0.0):
            return caller
        try:
            over = await self._ended([sign_in])
        except SignInsUnknownError as error:
            admitted = caller.issued_at > error.since + _DISAGREEMENT_SECONDS
            _log.warning("sign_in_not_known", admitted=admitted)
            if not admitted:
                raise
            return caller
        if sign_in in over:
            self._live_until.pop(sign_in, None)
            raise Unauthenticated("This session was ended. Log in again.", reason="SESSION_ENDED")
        self._live_until[sign_in] = now + _FRESH_SECONDS
        self._live_until.move_to_end(sign_in)
        if len(self._live_until) > _REMEMBERED:
            self._live_until.popitem(last=False)
        return caller


def ended_from_user_service(peers: Peers) -> Ended:
    """Return what asks the user service, whose tables are the truth of it."""

    async def ended(session_ids: Sequence[str]) -> set[str]:
        request = FindEndedSessionsRequest(session_ids=session_ids)
        stub = UserServiceStub(peers.channel("user"))
        with rpc_errors("user"):
            answer = await stub.FindEndedSessions(request, timeout=_TIMEOUT_SECONDS)
        return set(answer.ended)

    return ended
