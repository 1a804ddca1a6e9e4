"""What is asked for, made from the lossless original: a stretch of a track, in a form, as bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import structlog

from services.common.clock import Clock
from services.common.errors import DataLoss, FailedPrecondition, NotFound, ParleyError
from services.media.cache import Cache
from services.media.ports import Catalog, DamagedError, ObjectStore, Render
from services.media.recordings import Recording, State, Track, object_key, object_prefix
from services.media.renditions import Encoding, Rendition, choose

_log = structlog.get_logger(__name__)

READ_BYTES = 256 * 1024
"""Read ahead of the network: four messages, so that a thread or a request serves several."""


class Bytes(Protocol):
    """The bytes of a file."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer only at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Playback:
    """A file to send."""

    rendition: Rendition
    file_name: str
    total_bytes: int
    content: Bytes

    async def pieces(self, offset: int, length: int, size: int) -> AsyncIterator[bytes]:
        """Yield a range of the bytes in pieces of at most `size`."""
        end = offset + length
        while offset < end:
            block = await self.content.read(offset, min(READ_BYTES, end - offset))
            if not block:
                return
            for at in range(0, len(block), size):
                yield block[at : at + size]
            offset += len(block)


class Player:
    """Opens recordings for playing."""

    def __init__(
        self, catalog: Catalog, objects: ObjectStore, cache: Cache, render: Render, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._objects = objects
        self._cache = cache
        self._render = render
        self._clock = clock

    @asynccontextmanager
    async def open(
        self, recording: Recording, track: Track, encoding: Encoding, from_ms: int, to_ms: int
    ) -> AsyncIterator[Playback]:
        """Open a stretch of a recording in a form; it is made first where it is not in the cache.

        Raises:
            DataLoss: RECORDING_DAMAGED; where the original itself is sent, from its bytes.
            FailedPrecondition: RECORDING_IN_PROGRESS, or RECORDING_FAILED.
            NotFound: RECORDING_NOT_FOUND, when it has no such track, or was deleted meanwhile.
            OutOfRange: BAD_RANGE.
            ResourceExhausted: MEDIA_BUSY.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        _require_ready(recording)
        wanted = choose(recording, track, encoding, from_ms, to_ms)
        name = f"{_stem(recording)}-{wanted.file_name}"
        if wanted.whole and encoding is Encoding.FLAC and wanted.track is not Track.MIX:
            stored = recording.tracks[wanted.track]
            yield Playback(
                wanted, name, stored.size_bytes, _Stored(self, recording.recording_id, wanted.track)
            )
            return
        file = await self._rendered(recording, wanted)
        try:
            total = os.fstat(file.fileno()).st_size
            yield Playback(wanted, name, total, _Local(file))
        finally:
            file.close()

    async def link(
        self, recording: Recording, track: Track, encoding: Encoding, lifetime: timedelta
    ) -> tuple[str, datetime]:
        """Return a URL that plays a whole recording without a token, and when it stops.

        Raises:
            DataLoss: RECORDING_DAMAGED.
            FailedPrecondition: LINKS_NOT_SUPPORTED, RECORDING_IN_PROGRESS, RECORDING_FAILED.
            NotFound: RECORDING_NOT_FOUND.
            ResourceExhausted: MEDIA_BUSY.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        self._objects.require_links()
        _require_ready(recording)
        wanted = choose(recording, track, encoding, 0, 0)
        key = f"{object_prefix(recording.recording_id)}{wanted.file_name}"
        if encoding is not Encoding.FLAC or wanted.track is Track.MIX:
            with await self._rendered(recording, wanted) as file:
                # The name in the cache may be gone by now; the open file is not.
                await self._objects.put(key, Path(f"/proc/self/fd/{file.fileno()}"))
        url = await self._objects.link(key, lifetime)
        return url, self._clock.now() + lifetime

    async def read(self, recording_id: str, track: Track, offset: int, length: int) -> bytes:
        """Return `length` bytes of an original from `offset` on.

        Raises:
            DataLoss: RECORDING_DAMAGED, where they are not there.
            NotFound: RECORDING_NOT_FOUND, when it was deleted meanwhile.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        key = object_key(recording_id, track)
        try:
            data = await self._objects.read(key, offset, length)
        except FileNotFoundError:
            raise await self._missing(recording_id) from None
        if len(data) < length:
            raise _damaged(key, "it is shorter than it was stored")
        return data

    async def _rendered(self, recording: Recording, wanted: Rendition) -> BinaryIO:
        def open_original(track: Track) -> BinaryIO:
            return self._objects.open(object_key(recording.recording_id, track))

        make = partial(self._render, recording, wanted, open_original)
        try:
            return await self._cache.open(recording.recording_id, wanted.file_name, make)
        except FileNotFoundError:
            raise await self._missing(recording.recording_id) from None
        except DamagedError as error:
            raise _damaged(object_prefix(recording.recording_id), str(error)) from error

    async def _missing(self, recording_id: str) -> ParleyError:
        """Say why an original is not in the store: it was deleted while it was read, or is lost."""
        if isinstance(await self._catalog.find(recording_id), Recording):
            return _damaged(object_prefix(recording_id), "its audio is gone from the store")
        return NotFound("The recording was deleted.", reason="RECORDING_NOT_FOUND")


class _Local:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def read(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(os.pread, self._file.fileno(), length, offset)


class _Stored:
    def __init__(self, player: Player, recording_id: str, track: Track) -> None:
        self._player = player
        self._recording_id = recording_id
        self._track = track

    async def read(self, offset: int, length: int) -> bytes:
        return await self._player.read(self._recording_id, self._track, offset, length)


def _require_ready(recording: Recording) -> None:
    match recording.state:
        case State.READY:
            return
        case State.FAILED:
            raise FailedPrecondition(
                f"The recording could not be kept: {recording.failure}", reason="RECORDING_FAILED"
            )
        case _:
            raise FailedPrecondition(
                "The recording is not complete yet.",
                reason="RECORDING_IN_PROGRESS",
                retryable=True,
            )


def _stem(recording: Recording) -> str:
    return f"parley-{recording.started_at:%Y%m%d-%H%M%S}"


def _damaged(key: str, problem: str) -> DataLoss:
    _log.error("recording_damaged", key=key, problem=problem)
    return DataLoss(
        "The recording is not in its store as it was stored.", reason="RECORDING_DAMAGED"
    )
