"""Originals go to the store while the talk runs, in parts; the last ones when it is over.

What is acknowledged is on the disk, and all that is needed is there until the original is stored:
the store is filled beside it, and may be away, forget what it has or refuse. A track is encoded as
it grows, and sent a part at a time once there is more than that. Its first part, with the header
that says how long it is, goes last. So a talk whose track is shorter than two parts is stored by
one request in the end, as everything is where the store takes no parts.

What has been sent lies in a file beside the spool, by its digest, and a restart goes on from there.
When the original is made, each part is held against it; what differs is sent again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from services.common.clock import Clock
from services.common.errors import FailedPrecondition, ParleyError, Unavailable
from services.common.going_on import going_on
from services.media.ports import (
    GrowingOriginal,
    ObjectStore,
    OpenGrowing,
    PartStore,
    UploadGoneError,
)
from services.media.recordings import Recording, Track, object_key
from services.media.workers import Workers

_log = structlog.get_logger(__name__)

_FIRST_EARLY = 2
"""The number of the first part that is sent while the talk runs."""


class Live(Protocol):
    """A recording whose stream is open."""

    @property
    def recording(self) -> Recording:
        """What is recorded."""
        ...

    @property
    def on_disk(self) -> dict[Track, int]:
        """Samples of each track that are on the disk for good."""
        ...


@dataclass(slots=True)
class _Sent:
    """What of a track's original is in the store: parts by number, as (digest, tag)."""

    upload_id: str = ""
    parts: dict[int, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> _Sent:
        try:
            saved = json.loads(path.read_bytes())
            parts = {int(number): (part[0], part[1]) for number, part in saved["parts"].items()}
            return cls(saved["upload_id"], parts)
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            # Nothing was sent; or a power cut left half a note of it, and it is sent again.
            return cls()

    def save(self, path: Path) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"upload_id": self.upload_id, "parts": self.parts}))
        fresh.replace(path)


class LiveUploads:
    """The recordings on their way to the store. One part at a time is on the wire.

    live: the recordings whose streams are open, by id.
    folder: where the spool of a recording is.
    round_seconds: a part takes minutes to fill; in between, so much sound is encoded at once.
    """

    def __init__(
        self,
        objects: ObjectStore,
        workers: Workers,
        open_growing: OpenGrowing,
        live: Callable[[], Mapping[str, Live]],
        folder: Callable[[str], Path],
        clock: Clock,
        round_seconds: float,
    ) -> None:
        self._objects = objects
        self._workers = workers
        self._open_growing = open_growing
        self._live = live
        self._folder = folder
        self._clock = clock
        self._round_seconds = round_seconds
        self._growing: dict[str, dict[Track, GrowingOriginal]] = {}
        # A lock lives as long as somebody holds it or waits for it.
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self) -> None:
        """Send what there is at an interval, until cancelled."""
        if self._objects.parts is None:
            await asyncio.Event().wait()
        while True:
            await self._clock.sleep(self._round_seconds)
            with going_on("live_uploads_failed"), suppress(ParleyError):
                # The store is away: the next round goes on where this one ended.
                await self.advance()

    async def advance(self) -> None:
        """Send every whole part that there is now.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        parts = self._objects.parts
        if parts is None:
            return
        live = dict(self._live())
        for recording_id in self._growing.keys() - live.keys():
            await self.settle(recording_id)
        for recording_id, each in live.items():
            async with self._alone(recording_id):
                # It may have ended while others were sent, and its files be somebody else's now.
                if self._live().get(recording_id) is each:
                    await self._advance_all(parts, each)

    async def settle(self, recording_id: str) -> None:
        """Wait until nothing of a recording is on its way, and let go of its files."""
        async with self._alone(recording_id):
            growing = self._growing.pop(recording_id, {})
            for each in growing.values():
                await asyncio.to_thread(each.close)

    async def abandon(self, recording_id: str) -> None:
        """Throw away the parts of a recording that nobody wants any more.

        By the notes of what was sent: not every store tells which uploads there are below a folder.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        await self.settle(recording_id)
        parts = self._objects.parts
        if parts is None:
            return
        for track in Track:
            sent = await asyncio.to_thread(_Sent.load, self._note(recording_id, track))
            if sent.upload_id:
                await parts.abandon(object_key(recording_id, track), sent.upload_id)

    async def close(self) -> None:
        """Let go of all files."""
        for recording_id in list(self._growing):
            await self.settle(recording_id)

    async def store(self, recording_id: str, track: Track, file: Path) -> None:
        """Store a track's original, which is complete, with the parts that are in the store.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE, also where the disk takes no note of what was sent.
                Call it again: what was sent is not sent again.
        """
        try:
            await self._store(recording_id, track, file)
        except OSError as error:
            raise Unavailable(
                "The recording cannot be stored: the disk takes no more, or lost it.",
                reason="STORAGE_UNAVAILABLE",
                retry_after=5.0,
            ) from error

    async def _store(self, recording_id: str, track: Track, file: Path) -> None:
        key = object_key(recording_id, track)
        note = self._note(recording_id, track)
        parts = self._objects.parts
        sent = await asyncio.to_thread(_Sent.load, note)
        if parts is None or not sent.upload_id:
            await self._objects.put(key, file)
            return
        try:
            await self._complete(parts, key, sent, note, file)
        except UploadGoneError as gone:
            await self._give_up(parts, key, sent, note, gone)
            await self._objects.put(key, file)

    async def _advance_all(self, parts: PartStore, live: Live) -> None:
        try:
            for track in live.recording.rates_hz:
                await self._advance(parts, live, track)
        except (OSError, FailedPrecondition) as error:
            # The disk is full, the recording was deleted, or the key is gone that it began with.
            # Whatever is left of it is stored when it is complete; the others go on.
            _log.warning(
                "live_upload_failed",
                recording_id=live.recording.recording_id,
                problem=type(error).__name__,
            )

    async def _advance(self, parts: PartStore, live: Live, track: Track) -> None:
        recording_id = live.recording.recording_id
        growing = await self._open(live.recording, track)
        await self._workers.run(growing.grow, live.on_disk[track])
        note = self._note(recording_id, track)
        sent = await asyncio.to_thread(_Sent.load, note)
        key, size = object_key(recording_id, track), parts.part_bytes
        number = max(sent.parts, default=_FIRST_EARLY - 1) + 1
        # More than a part: none that is sent now may be the last one.
        while growing.size > number * size:
            if not sent.upload_id:
                sent.upload_id = await parts.begin(key)
                await asyncio.to_thread(sent.save, note)
            data = await asyncio.to_thread(growing.read, (number - 1) * size, size)
            try:
                await self._send(parts, key, sent, number, data, last=False)
            except UploadGoneError as gone:
                await self._give_up(parts, key, sent, note, gone)
                return
            await asyncio.to_thread(sent.save, note)
            _log.info("part_stored", recording_id=recording_id, track=track.label, part=number)
            number += 1

    async def _complete(
        self, parts: PartStore, key: str, sent: _Sent, note: Path, file: Path
    ) -> None:
        size = parts.part_bytes
        total = (await asyncio.to_thread(file.stat)).st_size
        count = -(-total // size)
        for number in range(1, count + 1):
            data = await asyncio.to_thread(_slice, file, (number - 1) * size, size)
            digest, _ = sent.parts.get(number, ("", ""))
            # The last one is always sent now: that it is the last is part of how it is sealed.
            if digest != hashlib.sha256(data).hexdigest() or number == count:
                await self._send(parts, key, sent, number, data, last=number == count)
                await asyncio.to_thread(sent.save, note)
        tags = {number: tag for number, (_, tag) in sent.parts.items() if number <= count}
        await parts.complete(key, sent.upload_id, tags)

    async def _give_up(
        self, parts: PartStore, key: str, sent: _Sent, note: Path, gone: UploadGoneError
    ) -> None:
        """Begin anew, with the next round or in one go."""
        _log.warning("upload_gone", key=key, reason=str(gone))
        await asyncio.to_thread(note.unlink, missing_ok=True)
        await parts.abandon(key, sent.upload_id)

    async def _send(
        self, parts: PartStore, key: str, sent: _Sent, number: int, data: bytes, *, last: bool
    ) -> None:
        tag = await parts.add(key, sent.upload_id, number, data, last=last)
        sent.parts[number] = (hashlib.sha256(data).hexdigest(), tag)

    async def _open(self, recording: Recording, track: Track) -> GrowingOriginal:
        growing = self._growing.setdefault(recording.recording_id, {})
        if track not in growing:
            growing[track] = await asyncio.to_thread(
                self._open_growing,
                self._folder(recording.recording_id),
                track,
                recording.rates_hz[track],
            )
        return growing[track]

    def _alone(self, recording_id: str) -> asyncio.Lock:
        """Return the lock that whoever uses a recording's files holds."""
        lock = self._busy.get(recording_id)
        if lock is None:
            self._busy[recording_id] = lock = asyncio.Lock()
        return lock

    def _note(self, recording_id: str, track: Track) -> Path:
        return self._folder(recording_id) / f"{track.label}.sent.json"


def _slice(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
