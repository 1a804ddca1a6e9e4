"""The store and the list of recordings are held against each other, and what differs is mended.

Whatever dies, the steps of recording, storing and deleting are repeated until they are done; this
finds what they cannot know of: what a deletion left because a file was still on its way, uploads in
parts that nobody completes, spools of what is stored, and objects that are gone from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum
from itertools import islice
from typing import Protocol, TypeVar

import structlog

from services.common.clock import Clock
from services.common.errors import ParleyError
from services.common.going_on import going_on
from services.media.ports import ObjectStore, StoreRefusedError
from services.media.recordings import Track, object_key, object_prefix

_log = structlog.get_logger(__name__)

T = TypeVar("T")

GONE = "Its audio is gone from the store."
"""The failure of a recording that was ready, and whose original is not there."""

_ROOT = "recordings/"
_AT_ONCE = 500

_SETTLED = timedelta(days=1)
"""What is younger may still be on its way: no talk and no upload takes as long."""

_ORPHAN = timedelta(days=7)
"""For so long, since it was first seen so, what no table knows is left alone: a database may have
been restored to an older state."""

_FIRST_SECONDS = 600.0
"""After a start, until it has found its feet."""


class Standing(Enum):
    """Where a recording stands, as far as its files matter."""

    OPEN = "being recorded, or stored"
    READY = "stored"
    FAILED = "could not be kept"
    DELETED = "deleted, its files perhaps not yet"
    PURGED = "deleted with its files"


class Inventory(Protocol):
    """The list of recordings, read through."""

    async def standings(self, ids: Sequence[str]) -> Mapping[str, Standing]:
        """Return where recordings stand; those that are not known are left out."""
        ...

    async def oldest(self) -> datetime | None:
        """Return when the first recording that is known began."""
        ...

    def ready(self) -> AsyncIterator[tuple[str, Sequence[Track]]]:
        """Yield every recording that is ready, with its tracks."""
        ...

    def lost(self) -> AsyncIterator[tuple[str, Sequence[Track]]]:
        """Yield every recording whose audio was found to be gone."""
        ...

    async def lose(self, recording_id: str) -> None:
        """Note that the audio of a recording, which is ready, is gone."""
        ...

    async def recover(self, recording_id: str) -> None:
        """Note that it is there again."""
        ...


class Unknown(Protocol):
    """When what no table knows was first seen so; outlives the process. Both methods block."""

    def load(self) -> Mapping[str, datetime]:
        """Return when each was first seen, by its recording's id."""
        ...

    def save(self, seen: Mapping[str, datetime]) -> None:
        """Keep when each was first seen, in place of what was kept."""
        ...


@dataclass(slots=True)
class Findings:
    """How many of each were found, and mended but for `unknown`.

    leftovers: objects' recordings that were deleted.
    orphans: recordings that no table knows, removed.
    unknown: recordings that no table knows, left alone, as they may belong to another list.
    uploads: uploads in parts that nobody completes.
    spools: of what is stored or deleted.
    lost: recordings whose audio is gone; recovered: is there again.
    """

    leftovers: int = 0
    orphans: int = 0
    unknown: int = 0
    uploads: int = 0
    spools: int = 0
    lost: int = 0
    recovered: int = 0

    def counts(self) -> dict[str, int]:
        """Return them by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


class Housekeeper:
    """Looks for what belongs to nothing. Repeating it is always fine.

    spools: the recordings that have a spool on this disk, and when it was last added to.
    remove_spool: removes the spool of a recording. Both block.
    unknown: since when what no table knows is there.
    """

    def __init__(
        self,
        inventory: Inventory,
        objects: ObjectStore,
        clock: Clock,
        interval_seconds: float,
        spools: Callable[[], Iterable[tuple[str, datetime]]],
        remove_spool: Callable[[str], None],
        unknown: Unknown,
    ) -> None:
        self._inventory = inventory
        self._objects = objects
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._spools = spools
        self._remove_spool = remove_spool
        self._unknown = unknown

    async def run(self) -> None:
        """Look at an interval, until cancelled."""
        await self._clock.sleep(min(_FIRST_SECONDS, self._interval_seconds))
        while True:
            with going_on("housekeeping_failed"):
                try:
                    await self.look()
                except ParleyError as error:
                    # The store or the database is away: there is time.
                    _log.warning("housekeeping_postponed", reason=error.reason)
            await self._clock.sleep(self._interval_seconds)

    async def look(self) -> Findings:
        """Look through everything once.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE or DATABASE_UNAVAILABLE.
        """
        found = Findings()
        there = await self._walk()
        known = await self._strangers(there, found)
        await self._gone(there, known, found)
        await self._unfinished(found)
        await self._spooled(found)
        if any(found.counts().values()):
            _log.warning("housekeeping", **found.counts())
        return found

    async def _walk(self) -> dict[str, _There]:
        """Return what is in the store, by recording: 15 MB for a hundred thousand."""
        there: dict[str, _There] = {}
        labels = {f"{track.label}.flac": track for track in Track}
        async for stored in self._objects.below(_ROOT):
            recording_id, _, name = stored.key.removeprefix(_ROOT).partition("/")
            entry = there.setdefault(recording_id, _There(stored.stored_at))
            entry.newest = max(entry.newest, stored.stored_at)
            if name in labels:
                entry.tracks |= 1 << labels[name]
        return there

    async def _strangers(self, there: Mapping[str, _There], found: Findings) -> bool:
        """Remove what belongs to no recording; return whether any belongs to one."""
        now, oldest = self._clock.now(), await self._inventory.oldest()
        any_known = False
        seen = await asyncio.to_thread(self._unknown.load)
        since: dict[str, datetime] = {}
        leftovers: list[str] = []
        for ids in _some(there, _AT_ONCE):
            standings = await self._inventory.standings(ids)
            for recording_id in ids:
                stored_at = there[recording_id].newest
                match standings.get(recording_id):
                    case Standing.PURGED:
                        leftovers.append(recording_id)
                    case None:
                        found.unknown += 1
                        # A list that is younger than an object is not the one it was in.
                        if oldest is not None and stored_at >= oldest:
                            since[recording_id] = max(stored_at, seen.get(recording_id, now))
                    case _:
                        any_known = True
        if since != seen:
            await asyncio.to_thread(self._unknown.save, since)
        for recording_id in leftovers:
            await self._objects.delete_below(object_prefix(recording_id))
            found.leftovers += 1
        for recording_id in (each for each, at in since.items() if now - at >= _ORPHAN):
            _log.warning("orphan_removed", recording_id=recording_id)
            await self._objects.delete_below(object_prefix(recording_id))
            found.unknown -= 1
            found.orphans += 1
        return any_known

    async def _gone(self, there: Mapping[str, _There], any_known: bool, found: Findings) -> None:
        """Note which recordings' originals are not there, or there again."""
        async for recording_id, tracks in self._inventory.ready():
            if self._has(there, recording_id, tracks):
                continue
            if not any_known:
                # An empty bucket, or another one: the settings are wrong, not the recordings.
                _log.error("store_has_no_recording")
                return
            # It may have been stored since; only the store's own word counts.
            if not await self._is_gone(recording_id, tracks):
                continue
            _log.error("recording_gone", recording_id=recording_id)
            await self._inventory.lose(recording_id)
            found.lost += 1
        async for recording_id, tracks in self._inventory.lost():
            if self._has(there, recording_id, tracks):
                await self._inventory.recover(recording_id)
                found.recovered += 1

    async def _is_gone(self, recording_id: str, tracks: Sequence[Track]) -> bool:
        try:
            for track in tracks:
                await self._objects.read(object_key(recording_id, track), 0, 1)
        except FileNotFoundError:
            return True
        return False

    @staticmethod
    def _has(there: Mapping[str, _There], recording_id: str, tracks: Sequence[Track]) -> bool:
        entry = there.get(recording_id)
        return entry is not None and all(entry.tracks >> track & 1 for track in tracks)

    async def _unfinished(self, found: Findings) -> None:
        parts = self._objects.parts
        if parts is None:
            return
        now = self._clock.now()
        try:
            uploads = await parts.unfinished(_ROOT)
        except StoreRefusedError:
            _log.warning("uploads_not_listed", prefix=_ROOT)
            return
        old = [each for each in uploads if now - each.begun_at >= _SETTLED]
        for some in _some(old, _AT_ONCE):
            ids = [each.key.removeprefix(_ROOT).partition("/")[0] for each in some]
            standings = await self._inventory.standings(ids)
            for upload, recording_id in zip(some, ids, strict=True):
                is_open = standings.get(recording_id) is Standing.OPEN
                if not is_open or now - upload.begun_at >= _ORPHAN:
                    await parts.abandon(upload.key, upload.upload_id)
                    found.uploads += 1

    async def _spooled(self, found: Findings) -> None:
        now = self._clock.now()
        spools = await asyncio.to_thread(lambda: list(self._spools()))
        old = [recording_id for recording_id, at in spools if now - at >= _SETTLED]
        for ids in _some(old, _AT_ONCE):
            standings = await self._inventory.standings(ids)
            for recording_id in ids:
                # What could not be kept stays: it may be all there is of it.
                if standings.get(recording_id) in (Standing.READY, Standing.PURGED):
                    await asyncio.to_thread(self._remove_spool, recording_id)
                    found.spools += 1


def _some(all_of_them: Iterable[T], count: int) -> Iterator[list[T]]:
    left = iter(all_of_them)
    while some := list(islice(left, count)):
        yield some


@dataclass(slots=True)
class _There:
    """What the store has of a recording: when the last came, and the tracks as bits."""

    newest: datetime
    tracks: int = 0
