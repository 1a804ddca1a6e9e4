"""Live conversations end when their learner is signed out: logout, revocation, a new password.

An access token says nothing of that: it stays valid for minutes. So this process asks the user
service about the sign-ins of its live sessions, all in one call, every two seconds.

While the user service does not answer the sessions go on: a learner must not lose a conversation
because another service restarts. They are asked for again as soon as it is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from services.common.clock import Clock
from services.common.going_on import going_on
from services.conversation.live import LiveSession

# With the time to ask and to end, a conversation outlives its sign-in by less than 5 s.
_EVERY_S = 2.0
# The contract's bound of one call.
_ASKED_AT_ONCE = 1000


class SignIns(Protocol):
    """Who knows of sign-ins."""

    async def ended(self, session_ids: Sequence[str]) -> set[str]:
        """Return those, of 1,000 at most, that are over.

        Raises:
            ParleyError: it cannot be told now.
        """
        ...


class SignOuts:
    """Ends the live sessions whose sign-in is over."""

    def __init__(self, live: Iterable[LiveSession], sign_ins: SignIns, clock: Clock) -> None:
        self._live = live
        self._sign_ins = sign_ins
        self._clock = clock

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._clock.sleep(_EVERY_S)
            with going_on("sign_ins_not_known"):
                await self.look()

    async def look(self) -> None:
        """Ask once, and end what is to be ended.

        Raises:
            ParleyError: it cannot be told now.
        """
        asked = sorted({each.sign_in for each in self._sessions()})
        for first in range(0, len(asked), _ASKED_AT_ONCE):
            ended = await self._sign_ins.ended(asked[first : first + _ASKED_AT_ONCE])
            # Looked up again: while we asked, one may have been resumed with another sign-in.
            for each in self._sessions():
                if each.sign_in in ended:
                    each.sign_out()

    def _sessions(self) -> list[LiveSession]:
        return [each for each in self._live if each.sign_in and each.ready.done() and not each.over]
