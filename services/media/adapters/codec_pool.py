"""Processes that encode and transcode, kept for the next job, and replaced when they break.

A job is done by one process. Should that die in the middle of it, or say nothing for too long, a
fresh one does the job again; should it die as well, the caller is told, and the pool is whole for
the next. There are never more processes than callers at once, which `Workers` bounds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import structlog

from services.common.errors import Unavailable
from services.media.adapters import codec_jobs, rendering, spool
from services.media.adapters.codec_child import (
    CodecChild,
    OpenSource,
    ProcessDiedError,
    ReadAnswer,
    transcoding_failed,
)
from services.media.adapters.codec_wire import Message
from services.media.metrics import MediaMetrics
from services.media.ports import OpenOriginal, Originals
from services.media.recordings import Recording, Track
from services.media.renditions import Rendition

_log = structlog.get_logger(__name__)

_LEAST_SECONDS: Final = 600.0
"""A job takes as long as its sound at most, and this: slower than that is not working but stuck."""

_JOBS_OF_A_PROCESS: Final = 200
"""After which a fresh one takes its place: whatever a codec leaks, it does not leak for ever."""

_TRIES: Final = 2
_STOPPING_RETRY_SECONDS: Final = 1.0

T = TypeVar("T")

_Places = tuple[tuple[int, int], ...]
"""The device and the inode of each folder."""


class CodecPool:
    """The codec processes of a service. Its methods block; call them in a pool of threads.

    The threads must live as long as the processes that they start: Linux ends a process with the
    thread that began it.
    """

    def __init__(self, folders: Sequence[Path], metrics: MediaMetrics) -> None:
        """Take jobs about files below `folders`, which are made when they are missing."""
        self._folders = folders
        self._metrics = metrics
        self._lock = threading.Lock()
        self._all: dict[CodecChild, _Places] = {}
        self._idle: list[CodecChild] = []
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The processes there are, working or not."""
        with self._lock:
            return [each.pid for each in self._all]

    def make_originals(
        self, folder: Path, rates_hz: Mapping[Track, int], said_ms: int
    ) -> Originals:
        """Do what `originals.make_originals` does, in a process.

        Raises:
            VerificationError: when decoding gives other samples than went in.
            OSError: when the disk is full, or nothing is there.
            Internal: TRANSCODING_FAILED.
            Unavailable: SERVICE_STOPPING.
        """
        job = codec_jobs.complete_job(folder, rates_hz, said_ms)
        sound_seconds = max(
            (spool.spooled(folder, track) / rate_hz for track, rate_hz in rates_hz.items()),
            default=0.0,
        )

        def read(answer: Message) -> Originals:
            return codec_jobs.read_originals(answer, folder, rates_hz)

        return self._do(job, max(sound_seconds, said_ms / 1000), _no_source, read)

    def render(
        self, recording: Recording, wanted: Rendition, open_original: OpenOriginal, to: Path
    ) -> None:
        """Do what `rendering.render` does, in a process.

        Raises:
            DamagedError: an original is not as it was stored.
            OSError: when the disk is full, or the original is gone.
            Internal: TRANSCODING_FAILED.
            Unavailable: SERVICE_STOPPING, or STORAGE_UNAVAILABLE.
        """
        plan = rendering.plan(recording, wanted)

        def open_source(index: int) -> BinaryIO:
            return open_original(plan.sources[index].track)

        try:
            job = codec_jobs.render_job(plan, to)
            self._do(job, wanted.duration_ms / 1000, open_source, lambda _: None)
        finally:
            # A process that dies leaves behind what it had written.
            rendering.partial_file(to).unlink(missing_ok=True)

    def close(self) -> None:
        """End all processes, and the jobs in progress with them."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        for each in processes:
            self._drop(each)

    def rest(self, idle_seconds: float) -> None:
        """End the processes that had nothing to do for so long: nobody may come for hours."""
        with self._lock:
            since = time.monotonic() - idle_seconds
            tired = [each for each in self._idle if each.idle_since <= since]
            self._idle = [each for each in self._idle if each.idle_since > since]
        for each in tired:
            self._drop(each)

    def _do(
        self, job: Message, sound_seconds: float, open_source: OpenSource, read: ReadAnswer[T]
    ) -> T:
        kind, began, outcome = str(job["job"]), time.monotonic(), "broken"
        try:
            for tried in range(1, _TRIES + 1):
                try:
                    done = self._try(job, sound_seconds + _LEAST_SECONDS, open_source, read)
                except ProcessDiedError as error:
                    self._require_open()
                    _log.error("codec_process_died", job=kind, tried=tried, problem=str(error))
                    self._metrics.process_died(kind)
                    continue
                except BaseException:
                    outcome = "failed"
                    raise
                outcome = "done"
                return done
        finally:
            self._metrics.job_ended(kind, outcome, time.monotonic() - began)
        raise transcoding_failed("The audio could not be prepared: what does it broke, twice.")

    def _try(self, job: Message, seconds: float, open_source: OpenSource, read: ReadAnswer[T]) -> T:
        process = self._take()
        try:
            return process.do(job, seconds, open_source, read)
        finally:
            if process.usable and process.jobs < _JOBS_OF_A_PROCESS:
                self._put_back(process)
            else:
                self._drop(process)

    def _take(self) -> CodecChild:
        places = self._places()
        while (rested := self._rested()) is not None:
            if rested.usable and self._all.get(rested) == places:
                return rested
            self._drop(rested)
        process = CodecChild(self._folders)
        with self._lock:
            self._all[process] = places
            closed = self._closed
        try:
            if closed:
                self._require_open()
            process.begin()
        except BaseException:
            self._drop(process)
            raise
        return process

    def _places(self) -> _Places:
        """Make the folders that are missing; return which ones they are now.

        A process reaches those that were there when it began: to it, one that was deleted and made
        again is another.
        """
        for each in self._folders:
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = [each.stat() for each in self._folders]
        return tuple((each.st_dev, each.st_ino) for each in found)

    def _rested(self) -> CodecChild | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put_back(self, process: CodecChild) -> None:
        with self._lock:
            process.idle_since = time.monotonic()
            if not self._closed:
                self._idle.append(process)
                return
        self._drop(process)

    def _drop(self, process: CodecChild) -> None:
        process.end()
        with self._lock:
            self._all.pop(process, None)

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable(
                "The service stops.", reason="SERVICE_STOPPING", retry_after=_STOPPING_RETRY_SECONDS
            )


def _no_source(index: int) -> BinaryIO:
    raise FileNotFoundError(index)
