"""Which process holds a session: one at a time, however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.common.redis.holders import Holders


class HeldElsewhereError(Exception):
    """Another process holds the session; `way` is what leads a client there, for an error."""

    def __init__(self, way: Mapping[str, str]) -> None:
        super().__init__("another process holds the session")
        self.way = dict(way)


class Locks(Protocol):
    """Where the processes of one machine write down what they hold.

    A claim ends with its process, however that ends: nobody waits for the dead.
    """

    def take(self, conversation_id: str) -> None:
        """Claim a session. One that this process holds already can be claimed again.

        Raises:
            HeldElsewhereError: another process holds it.
        """
        ...

    def give_back(self, conversation_id: str) -> bool:
        """Give a claim back: once for each time that it was taken. True: that was the last one."""
        ...


class Claims(Protocol):
    """The same for processes anywhere."""

    async def take(self, conversation_id: str) -> None:
        """Claim a session, as often as it is given back.

        Raises:
            HeldElsewhereError: another process holds it.
        """
        ...

    async def give_back(self, conversation_id: str) -> None:
        """Give a claim back."""
        ...


class NoClaims:
    """For a process that is alone: everything is its own."""

    async def take(self, conversation_id: str) -> None:
        """Do nothing."""

    async def give_back(self, conversation_id: str) -> None:
        """Do nothing."""


class ToldClaims:
    """Locks on this machine and, where there is a Redis, claims that other machines are told of."""

    def __init__(self, locks: Locks, holders: Holders | None = None) -> None:
        self._locks = locks
        self._holders = holders

    async def take(self, conversation_id: str) -> None:
        """See `Claims`."""
        self._locks.take(conversation_id)
        if self._holders is None:
            return
        held = False
        try:
            way = await self._holders.take(conversation_id)
            held = way is None
        finally:
            # Also where whoever asked went away meanwhile.
            if not held:
                self._locks.give_back(conversation_id)
        if way is not None:
            raise HeldElsewhereError(way)

    async def give_back(self, conversation_id: str) -> None:
        """See `Claims`."""
        if self._locks.give_back(conversation_id) and self._holders is not None:
            await self._holders.give_back(conversation_id)
