"""Which process holds a thing, told across machines: a claim that lapses unless it is renewed.

It is told, not locked: where Redis was emptied two may hold the same for as long as a claim takes
to be renewed, and while it is away nobody is told at all. What must not happen then, the database
refuses. Processes that share a folder lock files there besides, which no death leaves behind; of
them (the same `place`) the last to come is right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from services.common.clock import Clock
from services.common.errors import Unavailable
from services.common.going_on import going_on
from services.common.ids import new_id
from services.common.redis.connection import PREFIX, Redis, answered

_log = structlog.get_logger(__name__)

# Who comes for what a dead machine held waits for so long at most; at a third of it, a claim is
# renewed twice before it lapses.
_LEASE_SECONDS = 10.0
_RENEWED_EVERY_SECONDS = 3.0

_ID_CHARACTERS = 36

# What is written: the place, the process (both UUIDs), what leads there. Taken where nobody of
# another place has it; returns who has it otherwise.
_TAKE = f"""
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, {_ID_CHARACTERS}) ~= string.sub(ARGV[1], 1, {_ID_CHARACTERS}) then
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
"""

# Given back only by who has it.
_GIVE_BACK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Holders:
    """The claims of one process.

    Args:
        redis: where they are told.
        what: what kind of thing is held, for the keys' names.
        place: an id that the processes have in common that lock files in one folder.
        way: what leads to this process, told to those who come to another.
        lost: called with a thing that another process, elsewhere, holds now.
        clock: what tells when to renew.
    """

    def __init__(
        self,
        redis: Redis,
        what: str,
        place: str,
        way: Mapping[str, str],
        lost: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._redis = redis
        self._what = what
        self._written = place + new_id() + json.dumps(dict(way))
        self._lost = lost
        self._clock = clock
        self._held: set[str] = set()

    async def take(self, thing: str) -> Mapping[str, str] | None:
        """Claim a thing; return what leads to who holds it, in another place, None if nobody does.

        While Redis does not answer, nobody is known to.
        """
        try:
            holder = await self._claim(thing)
        except Unavailable as error:
            _log.warning("claim_not_told", what=self._what, error=type(error.__cause__).__name__)
            holder = None
        if holder is None:
            self._held.add(thing)
        return holder

    async def give_back(self, thing: str) -> None:
        """Give a claim back. While Redis does not answer it lapses by itself."""
        self._held.discard(thing)
        script: Any = self._redis.eval(_GIVE_BACK, 1, self._key(thing), self._written)
        with suppress(Unavailable):
            await answered(script)

    async def run(self) -> None:
        """Renew what is held, until cancelled."""
        while True:
            await self._clock.sleep(_RENEWED_EVERY_SECONDS)
            with going_on("claims_not_renewed"):
                await self.renew()

    async def renew(self) -> None:
        """Renew what is held, once; what Redis has lost is told again."""
        for thing in list(self._held):
            try:
                holder = await self._claim(thing)
            except Unavailable:
                return
            if holder is not None and thing in self._held:
                _log.warning("claim_lost", what=self._what, thing=thing)
                self._held.discard(thing)
                self._lost(thing)

    async def _claim(self, thing: str) -> Mapping[str, str] | None:
        lease_ms = round(_LEASE_SECONDS * 1000)
        script: Any = self._redis.eval(_TAKE, 1, self._key(thing), self._written, lease_ms)
        held = await answered(script)
        if not held:
            return None
        try:
            way = json.loads(held[2 * _ID_CHARACTERS :])
        except ValueError:
            # Not written by a process of ours; it lapses.
            return {}
        return {str(key): str(value) for key, value in way.items()}

    def _key(self, thing: str) -> str:
        return f"{PREFIX}{self._what}:{thing}"
