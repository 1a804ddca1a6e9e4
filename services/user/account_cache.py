"""Accounts read a moment ago, so that asking again costs no database.

What this process writes is seen at once: every writing transaction names the users it touched, and
they are forgotten when it ends, whichever way. What another process wrote is seen when an entry's
lifetime is over: that is how long a profile may be old there, and a session that was ended may
still be answered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from services.common.clock import Clock
from services.user.accounts import SignedInAccount

# Accounts kept; with its sessions one takes a few KiB.
_MOST_ACCOUNTS = 1024
# An account signed in at more places than this is read each time: entries stay small.
_MOST_SESSIONS = 32


@dataclass(frozen=True, slots=True)
class _Entry:
    found: SignedInAccount
    until: float


class AccountCache:
    """Accounts by user id, bounded in number and in age. For one event loop.

    lifetime_seconds: how old an answer may be; 0 keeps nothing.
    """

    def __init__(self, clock: Clock, lifetime_seconds: float) -> None:
        self._clock = clock
        self._lifetime = lifetime_seconds
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._changes = 0

    async def get(
        self, user_id: str, read: Callable[[], Awaitable[SignedInAccount | None]]
    ) -> SignedInAccount | None:
        """Return the user's account, from `read` when it is not at hand."""
        entry = self._entries.get(user_id)
        if entry is not None and self._clock.monotonic() < entry.until:
            return entry.found
        # Counted from before the read: a slow one must not make its answer younger than it is.
        until = self._clock.monotonic() + self._lifetime
        changes = self._changes
        found = await read()
        # Somebody wrote while we read, so what we read may be from before: used once, not kept.
        if found is not None and changes == self._changes:
            self._keep(user_id, _Entry(found, until))
        return found

    def forget(self, user_ids: Iterable[str]) -> None:
        """Drop what is known of these users; call it when a transaction that wrote has ended.

        Reads in progress are not kept either, whoever they are of.
        """
        self._changes += 1
        for user_id in user_ids:
            self._entries.pop(user_id, None)

    def _keep(self, user_id: str, entry: _Entry) -> None:
        if self._lifetime <= 0 or len(entry.found.sessions) > _MOST_SESSIONS:
            return
        self._entries[user_id] = entry
        self._entries.move_to_end(user_id)
        if len(self._entries) > _MOST_ACCOUNTS:
            self._entries.popitem(last=False)
