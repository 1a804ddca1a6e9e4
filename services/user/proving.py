"""Proving a password: counted before it is looked at, and hashed in places that nobody can fill.

At the door it is a name's, from an address; inside it is a user's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence

from services.common import call_context
from services.common.audit import AuditTrail
from services.common.clock import Clock
from services.common.errors import ParleyError, ResourceExhausted
from services.user.passwords import PasswordHasher
from services.user.throttle import Attempt, Throttle


class Proofs:
    """Checks passwords as often as `throttle` allows, and notes when it does not."""

    def __init__(
        self, passwords: PasswordHasher, throttle: Throttle, clock: Clock, audit: AuditTrail
    ) -> None:
        self._passwords = passwords
        self._throttle = throttle
        self._clock = clock
        self._audit = audit

    async def at_the_door(
        self, name: str, password: str, look_up: Callable[[], Awaitable[bytes | None]]
    ) -> bool:
        """Tell whether `password` is the one behind what `look_up` finds, for who is to be `name`.

        Nothing is looked up for who must wait.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS.
        """
        try:
            attempt = self._throttle.begin(name, self._clock.monotonic())
        except ResourceExhausted:
            # Neither name nor account: people type their passwords there.
            self._note(("door", name, call_context.client_address()), None)
            raise
        return await self._prove(attempt, password, look_up, door_holders(name))

    async def of_the_signed_in(self, user_id: str, password: str, stored: bytes) -> bool:
        """Tell the same of somebody's own password; what others fail at does not count.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS.
        """
        try:
            attempt = self._throttle.begin_signed_in(user_id, self._clock.monotonic())
        except ResourceExhausted:
            self._note(("user", user_id), user_id)
            raise

        async def known() -> bytes:
            return stored

        return await self._prove(attempt, password, known, own_holders(user_id))

    def signed_in_here(self, name: str) -> None:
        """Note that the caller is `name`, proved by other means than the password.

        Then nobody's failures at the name elsewhere hold them up here.
        """
        self._throttle.seen(name)

    async def _prove(
        self,
        attempt: Attempt,
        password: str,
        look_up: Callable[[], Awaitable[bytes | None]],
        holders: Sequence[Hashable],
    ) -> bool:
        try:
            matches = await self._passwords.matches(password, await look_up(), holders)
        except ParleyError:
            # No room, or no database. Whoever goes away instead has failed.
            self._throttle.not_made(attempt, self._clock.monotonic())
            raise
        if matches:
            self._throttle.succeeded(attempt, self._clock.monotonic())
        return matches

    def _note(self, who: Hashable, user_id: str | None) -> None:
        # A flood of refusals is one line a minute for each who is refused.
        self._audit.note_once_a_minute(who, "too_many_attempts", alarming=True, user_id=user_id)


def door_holders(name: str) -> Sequence[Hashable]:
    """Return who holds the place of a password at the door: its name there, and its address."""
    address = call_context.client_address()
    # Without an address it is this machine's own, where names alone are told apart.
    holders: list[Hashable] = [("name", name, address)]
    if address is not None:
        holders.append(("address", address))
    return holders


def own_holders(user_id: str) -> Sequence[Hashable]:
    """Return who holds the place of the password of somebody signed in."""
    return [("user", user_id)]
