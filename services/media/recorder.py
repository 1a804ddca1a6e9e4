"""Live recordings: samples come in, go to disk in batches, and are acknowledged once there.

    async with recorder.open(recording) as live:
        await live.add(Track.LEARNER, 0, pcm)     # waits when the disk is behind
        await live.flush()                        # returns what is on disk

Full-policy: a stream holds at most `PENDING_BYTES` in memory; after that it is not read until the
disk has taken them, and the sender waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from services.common.clock import Clock
from services.common.errors import (
    Aborted,
    AlreadyExists,
    InvalidArgument,
    NotFound,
    ParleyError,
    ResourceExhausted,
    Unavailable,
)
from services.media.ports import Catalog, Deleted, OpenSpool, SpoolWriter
from services.media.recordings import Recording, State, Track
from services.media.spool_room import SpoolRoom
from services.media.timeline import SAMPLE_BYTES

_log = structlog.get_logger(__name__)

PENDING_BYTES = 1024 * 1024
"""About 13 s of both tracks: longer than any disk stalls, little enough for a thousand streams."""


Acknowledge = Callable[[dict[Track, int]], Awaitable[None]]
"""Tells the sender how many samples of each track are on disk."""


class LiveRecording:
    """A recording whose stream is open."""

    def __init__(
        self, recording: Recording, spool: SpoolWriter, max_seconds: float, sync_seconds: float
    ) -> None:
        self.recording = recording
        self._spool = spool
        self._max_seconds = max_seconds
        self._sync_seconds = sync_seconds
        self._pending: list[tuple[Track, int, bytes]] = []
        self._pending_bytes = 0
        self._on_disk = spool.lengths
        # One flush at a time; held by whoever uses the spool.
        self._disk = asyncio.Lock()
        self._ended: asyncio.Future[ParleyError] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()

    @property
    def on_disk(self) -> dict[Track, int]:
        """Samples of each track that a power cut does not lose."""
        return dict(self._on_disk)

    @property
    def dirty(self) -> bool:
        """Whether something waits to be flushed."""
        return bool(self._pending)

    async def add(self, track: Track, first_sample: int, pcm: bytes) -> None:
        """Take samples of one side that begin at `first_sample` of its time line.

        Raises:
            InvalidArgument: AUDIO_FRAME_INVALID, when a sample is cut.
            ResourceExhausted: RECORDING_TOO_LONG.
            Unavailable: STORAGE_UNAVAILABLE, when the disk takes no more.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise InvalidArgument("The audio ends inside a sample.", reason="AUDIO_FRAME_INVALID")
        end = first_sample + len(pcm) // SAMPLE_BYTES
        if end > self._max_seconds * self.recording.rates_hz[track]:
            raise self._too_long()
        self._pending.append((track, first_sample, pcm))
        self._pending_bytes += len(pcm)
        if self._pending_bytes >= PENDING_BYTES:
            await self.flush()

    def check_duration(self, duration_ms: int) -> None:
        """Refuse a duration that no recording may have.

        Raises:
            ResourceExhausted: RECORDING_TOO_LONG.
        """
        if duration_ms > self._max_seconds * 1000:
            raise self._too_long()

    async def flush(self) -> dict[Track, int]:
        """Write what waits and force it to disk; return the samples of each track that are there.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE, when the disk takes no more.
        """
        async with self._disk:
            batch, self._pending, self._pending_bytes = self._pending, [], 0
            if batch:
                work = asyncio.create_task(asyncio.to_thread(self._write, batch))
                try:
                    await asyncio.shield(work)
                except asyncio.CancelledError:
                    # The thread still uses the files: they must not be closed under it.
                    await asyncio.wait([work])
                    raise
                self._on_disk = self._spool.lengths
        return self.on_disk

    async def keep_flushing(self, clock: Clock, acknowledge: Acknowledge) -> None:
        """Flush at the declared interval and acknowledge each time, until cancelled."""
        while True:
            await clock.sleep(self._sync_seconds)
            if self._pending:
                await acknowledge(await self.flush())

    def end(self, error: ParleyError) -> None:
        """Have the stream end with `error`."""
        if not self._ended.done():
            self._ended.set_result(error)

    async def until_ended(self) -> None:
        """Wait until somebody ends the stream, then raise what they gave as the reason."""
        raise await asyncio.shield(self._ended)

    async def close(self) -> None:
        """Flush what waits, as far as the disk takes it, and close the files."""
        try:
            await self.flush()
        except ParleyError as error:
            _log.warning(
                "recording_tail_lost",
                recording_id=self.recording.recording_id,
                reason=error.reason,
            )
        finally:
            await asyncio.to_thread(self._spool.close)
            self.closed.set()

    def _write(self, batch: list[tuple[Track, int, bytes]]) -> None:
        try:
            for track, first_sample, pcm in batch:
                self._spool.write(track, first_sample, pcm)
            self._spool.sync()
        except OSError as error:
            raise _disk_failed() from error

    def _too_long(self) -> ResourceExhausted:
        return ResourceExhausted(
            f"A recording lasts at most {self._max_seconds:,.0f} s.",
            reason="RECORDING_TOO_LONG",
        )


class Recorder:
    """The live recordings of this process, at most one stream for each."""

    def __init__(
        self,
        catalog: Catalog,
        open_spool: OpenSpool,
        spool_dir: Path,
        max_seconds: float,
        sync_seconds: float,
        room: SpoolRoom,
    ) -> None:
        self._catalog = catalog
        self._room = room
        self._open_spool = open_spool
        self._spool_dir = spool_dir
        self._max_seconds = max_seconds
        self._sync_seconds = sync_seconds
        self._live: dict[str, LiveRecording] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait until every stream that was cut is on the disk, and noted as ended."""
        for live in list(self._live.values()):
            live.end(Unavailable("The service stops.", reason="SERVICE_STOPPING"))
            await live.closed.wait()
        if self._ending:
            await asyncio.wait(self._ending)

    @asynccontextmanager
    async def open(self, recording: Recording) -> AsyncIterator[LiveRecording | Recording]:
        """Begin or continue a recording; yield what is stored instead when it is complete already.

        An older stream of the same recording is ended: it is a connection that its sender gave up.

        Raises:
            AlreadyExists: RECORDING_CONFLICT, when the id is another conversation's or the
                formats differ.
            NotFound: RECORDING_NOT_FOUND, when the recording was deleted.
            Unavailable: STORAGE_UNAVAILABLE, when the disk takes no more, or may not.
        """
        recording_id = recording.recording_id
        known = await self._catalog.begin(recording)
        if isinstance(known, Deleted):
            raise _deleted()
        if not known.same_origin(recording):
            raise AlreadyExists(
                "This recording id was used for another conversation or other formats.",
                reason="RECORDING_CONFLICT",
            )
        if known.state is not State.RECORDING:
            yield known
            return
        await self._check_room(self.folder(recording_id))
        while (older := self._live.get(recording_id)) is not None:
            older.end(Aborted("A newer stream continues it.", reason="RECORDING_TAKEN_OVER"))
            await older.closed.wait()
        live = self._begin(known)
        try:
            yield live
        finally:
            ending = asyncio.create_task(self._end(live))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)

    @property
    def live(self) -> Mapping[str, LiveRecording]:
        """The recordings whose streams are open here, by id."""
        return self._live

    def is_live(self, recording_id: str) -> bool:
        """Tell whether a stream of the recording is open here."""
        return recording_id in self._live

    async def stop(self, recording_id: str) -> None:
        """End the stream of a recording that was deleted, and wait until its files are closed."""
        live = self._live.get(recording_id)
        if live is not None:
            live.end(_deleted())
            await live.closed.wait()

    def folder(self, recording_id: str) -> Path:
        """Return the folder of a recording's spool."""
        return self._spool_dir / recording_id

    async def _check_room(self, folder: Path) -> None:
        """Refuse a new recording where there is no room; one that began goes on to its end."""
        if not await asyncio.to_thread(folder.exists):
            await self._room.require_for_talk()

    def _begin(self, recording: Recording) -> LiveRecording:
        folder = self.folder(recording.recording_id)
        try:
            # Blocks for a few small system calls; awaiting here would let a second stream of the
            # same recording in between the look and the entry below.
            spool = self._open_spool(folder, recording.rates_hz)
        except OSError as error:
            raise _disk_failed() from error
        live = LiveRecording(recording, spool, self._max_seconds, self._sync_seconds)
        self._live[recording.recording_id] = live
        return live

    async def _end(self, live: LiveRecording) -> None:
        try:
            await live.close()
        finally:
            self._live.pop(live.recording.recording_id, None)
        with suppress(ParleyError):
            # Should the database be away, the recording is completed a little sooner.
            await self._catalog.touch(live.recording.recording_id)


def _deleted() -> NotFound:
    return NotFound("The recording was deleted.", reason="RECORDING_NOT_FOUND")


def _disk_failed() -> Unavailable:
    return Unavailable(
        "The recording cannot be written to disk.", reason="STORAGE_UNAVAILABLE", retry_after=5.0
    )
