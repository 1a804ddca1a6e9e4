"""From the spool to the stored original, for recordings that ended well and those that did not.

A recording is completed in steps, each of which may be repeated: note its duration, encode and
verify, store, note what it came to, remove the spool. Whatever dies in between, the next sweep
goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog

from services.common.clock import Clock
from services.common.errors import NotFound, ParleyError, Unavailable
from services.common.going_on import going_on, log_failure
from services.media.live_uploads import LiveUploads
from services.media.ports import (
    Catalog,
    Deleted,
    Finished,
    MakeOriginals,
    ObjectStore,
    VerificationError,
)
from services.media.recordings import Recording, State, object_prefix
from services.media.workers import Workers

_log = structlog.get_logger(__name__)


class Finisher:
    """Completes recordings, one job for each."""

    def __init__(
        self,
        catalog: Catalog,
        objects: ObjectStore,
        workers: Workers,
        make_originals: MakeOriginals,
        folder: Callable[[str], Path],
        remove_spool: Callable[[Path], None],
        *,
        uploads: LiveUploads,
    ) -> None:
        self._catalog = catalog
        self._objects = objects
        self._uploads = uploads
        self._workers = workers
        self._make_originals = make_originals
        self._folder = folder
        self._remove_spool = remove_spool
        self._jobs: dict[str, asyncio.Task[Recording]] = {}

    async def finish(self, recording_id: str, duration_ms: int = 0) -> Recording:
        """Complete a recording; return it as it is stored, READY or FAILED.

        Callers at the same time share one job, which goes on when they are cancelled.

        Args:
            recording_id: whose stream has ended.
            duration_ms: how long the session was; 0: as long as what is there.

        Raises:
            NotFound: RECORDING_NOT_FOUND, when it was deleted or never began.
            Unavailable: STORAGE_UNAVAILABLE or DATABASE_UNAVAILABLE; a later sweep tries again.
        """
        job = self._jobs.get(recording_id)
        if job is None:
            job = asyncio.create_task(self._finish(recording_id, duration_ms))
            self._jobs[recording_id] = job
            job.add_done_callback(lambda done: self._done(recording_id, done))
        return await asyncio.shield(job)

    async def close(self) -> None:
        """Cancel the jobs in progress and wait for them; the next start repeats them."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _finish(self, recording_id: str, duration_ms: int) -> Recording:
        known = await self._catalog.process(recording_id, duration_ms)
        if isinstance(known, Recording) and known.state is State.PROCESSING:
            known = await self._catalog.finish(recording_id, await self._store(known))
            if isinstance(known, Recording) and known.state is State.READY:
                await asyncio.to_thread(self._remove_spool, self._folder(recording_id))
        if isinstance(known, Recording):
            return known
        if isinstance(known, Deleted):
            # It was deleted while it was being encoded or stored. What was sent is noted in its
            # spool.
            await self._uploads.abandon(recording_id)
            await asyncio.to_thread(self._remove_spool, self._folder(recording_id))
            await self._objects.delete_below(object_prefix(recording_id))
        raise NotFound("The recording was deleted.", reason="RECORDING_NOT_FOUND")

    async def _store(self, recording: Recording) -> Finished:
        recording_id = recording.recording_id
        folder = self._folder(recording_id)
        await self._uploads.settle(recording_id)
        try:
            made = await self._workers.run(
                self._make_originals, folder, recording.rates_hz, recording.duration_ms
            )
        except VerificationError as error:
            _log.error("recording_not_verified", recording_id=recording_id, problem=str(error))
            return Finished(recording.duration_ms, {}, failure="The encoded audio is not intact.")
        except FileNotFoundError:
            return Finished(recording.duration_ms, {}, failure="No audio is left of it.")
        except OSError as error:
            raise Unavailable(
                "The recording cannot be encoded: the disk takes no more.",
                reason="STORAGE_UNAVAILABLE",
                retry_after=5.0,
            ) from error
        if made.duration_ms == 0:
            return Finished(0, {}, failure="Nothing was recorded.")
        for track, file in made.files.items():
            await self._uploads.store(recording_id, track, file)
        size = sum(stored.size_bytes for stored in made.tracks.values())
        _log.info(
            "recording_stored", recording_id=recording_id, ms=made.duration_ms, size_bytes=size
        )
        return Finished(made.duration_ms, made.tracks, made.waveform)

    def _done(self, recording_id: str, job: asyncio.Task[Recording]) -> None:
        del self._jobs[recording_id]
        if not job.cancelled():
            # Marks the failure as seen, should no caller be left to see it.
            job.exception()


class Sweeper:
    """Looks for what was left undone: abandoned, unencoded, deleted and expired recordings."""

    def __init__(
        self,
        catalog: Catalog,
        finisher: Finisher,
        delete: Callable[[str], Awaitable[None]],
        purge: Callable[[str], Awaitable[None]],
        is_live: Callable[[str], bool],
        clock: Clock,
        resume_seconds: float,
        sweep_seconds: float,
    ) -> None:
        self._catalog = catalog
        self._finisher = finisher
        self._delete = delete
        self._purge = purge
        self._is_live = is_live
        self._clock = clock
        self._resume_seconds = resume_seconds
        self._sweep_seconds = sweep_seconds
        # A recording cut by our own death is given its time from our start on: its sender could
        # not have continued it before.
        self._started = clock.monotonic()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            with going_on("sweep_failed"), suppress(ParleyError):
                # The database is away: the next sweep finds the same.
                await self.sweep()
            await self._clock.sleep(self._sweep_seconds)

    async def sweep(self) -> None:
        """Do what is to be done now; what fails is left to the next time."""
        for recording_id in await self._catalog.unprocessed():
            await self._attempt("finish", recording_id, self._complete)
        if self._clock.monotonic() - self._started >= self._resume_seconds:
            for recording_id in await self._catalog.abandoned(self._resume_seconds):
                if not self._is_live(recording_id):
                    _log.info("recording_abandoned", recording_id=recording_id)
                    await self._attempt("finish", recording_id, self._complete)
        for recording_id in await self._catalog.expired():
            if not self._is_live(recording_id):
                await self._attempt("delete", recording_id, self._delete)
        for recording_id in await self._catalog.unpurged():
            await self._attempt("purge", recording_id, self._purge)

    async def _complete(self, recording_id: str) -> None:
        await self._finisher.finish(recording_id)

    async def _attempt(
        self, what: str, recording_id: str, work: Callable[[str], Awaitable[None]]
    ) -> None:
        try:
            await work(recording_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others have their turn
            log_failure("sweep_failed", error, what=what, recording_id=recording_id)
