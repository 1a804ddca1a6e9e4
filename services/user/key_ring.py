"""The signing keys of a running service: the same folder, looked at again and again."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path

import structlog

from services.common.audit import AuditTrail
from services.common.clock import Clock
from services.common.key_files import KeyFileError
from services.user.keys import SigningKeys

# What a rotation takes to be noticed. Looking costs a few small files.
_LOOK_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class KeyRing:
    """The keys as they are now. `keys` is replaced as a whole; whoever needs one asks for it.

    audit: notes when they change.
    """

    def __init__(
        self, keys_dir: Path, keys: SigningKeys, clock: Clock, audit: AuditTrail | None = None
    ) -> None:
        self._dir = keys_dir
        self._clock = clock
        self._audit = audit
        self.keys = keys

    @classmethod
    async def open(cls, keys_dir: Path, clock: Clock, audit: AuditTrail | None = None) -> KeyRing:
        """Load the keys, made when there are none, and publish them.

        Raises:
            KeyFileError, OSError: a file is wrong, or cannot be read or written.
        """
        keys = await asyncio.to_thread(SigningKeys.open, keys_dir)
        await asyncio.to_thread(keys.publish, keys_dir)
        return cls(keys_dir, keys, clock, audit)

    async def run(self) -> None:
        """Keep up with the folder until cancelled. What is wrong with it changes nothing."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except (KeyFileError, OSError) as error:
                _log.error("keys_unreadable", problem=str(error))

    async def look(self) -> None:
        """Load the keys again; where they have changed, publish them, then sign with them.

        Raises:
            KeyFileError, OSError: a file is wrong, or cannot be read or written.
        """
        keys = await asyncio.to_thread(SigningKeys.open, self._dir)
        if _same(keys, self.keys):
            return
        await asyncio.to_thread(keys.publish, self._dir)
        self.keys = keys
        if self._audit is not None:
            self._audit.note("keys_changed", current=keys.current_id, published=len(keys.public))


def _same(one: SigningKeys, other: SigningKeys) -> bool:
    return (
        one.current_id == other.current_id
        and set(one.public) == set(other.public)
        and hmac.compare_digest(one.refresh_secret, other.refresh_secret)
    )
