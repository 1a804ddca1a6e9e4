"""Which process holds a session: one at a time, however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class HeldElsewhereError(Exception):
    """Another process holds the session; `way` is what leads a client there, for an error."""

    def __init__(self, way: Mapping[str, str]) -> None:
        super().__init__("another process holds the session")
        self.way = dict(way)


class Claims(Protocol):
    """Where processes write down what they hold.

    A claim ends with its process, however that ends: nobody waits for the dead.
    """

    def take(self, conversation_id: str) -> None:
        """Claim a session. One that this process holds already can be claimed again.

        Raises:
            HeldElsewhereError: another process holds it.
        """
        ...

    def give_back(self, conversation_id: str) -> None:
        """Give a claim back: once for each time that it was taken."""
        ...


class NoClaims:
    """For a process that is alone: everything is its own."""

    def take(self, conversation_id: str) -> None:
        """Do nothing."""

    def give_back(self, conversation_id: str) -> None:
        """Do nothing."""
