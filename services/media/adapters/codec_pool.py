"""Processes that encode and transcode, kept for the next job, and replaced when they break.

A job is done by one process. Should that die in the middle of it, or say nothing for too long, a
fresh one does the job again; should it die as well, the caller is told, and the pool is whole for
the next. There are never more processes than callers at once, which `Workers` bounds.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from services.common.errors import Internal, ParleyError, Unavailable
from services.media.adapters import codec_jobs, codec_process, rendering, spool
from services.media.adapters.codec_wire import MOST_BYTES, BrokenWireError, Message, Wire
from services.media.metrics import MediaMetrics
from services.media.ports import OpenOriginal, Originals, VerificationError
from services.media.recordings import Recording, Track
from services.media.renditions import Rendition

_log = structlog.get_logger(__name__)

_ROOT: Final = Path(__file__).parents[3]

MEMORY_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Address space of a process; it uses about 60 MB, and 300 MB more are code."""

_READY_SECONDS: Final = 60.0
"""A process is there after a fraction of a second, on a machine that does nothing else."""

_LEAST_SECONDS: Final = 600.0
"""A job takes as long as its sound at most, and this: slower than that is not working but stuck."""

_JOBS_OF_A_PROCESS: Final = 200
"""After which a fresh one takes its place: whatever a codec leaks, it does not leak for ever."""

_LAST_SECONDS: Final = 1.0
_TRIES: Final = 2
_STOPPING_RETRY_SECONDS: Final = 1.0

OpenSource = Callable[[int], BinaryIO]


class ProcessDiedError(Exception):
    """A process ended, or was ended, before its job was done."""


class CodecPool:
    """The codec processes of a service. Its methods block; call them in a pool of threads.

    The threads must live as long as the processes that they start: Linux ends a process with the
    thread that began it.
    """

    def __init__(self, folder: Path, metrics: MediaMetrics) -> None:
        """Take jobs about files below `folder`, which is made when it is missing."""
        self._folder = folder
        self._metrics = metrics
        self._lock = threading.Lock()
        self._all: set[_Process] = set()
        self._idle: list[_Process] = []
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
        made = self._do(job, max(sound_seconds, said_ms / 1000), _no_source)
        return codec_jobs.read_originals(made)

    def render(
        self, recording: Recording, wanted: Rendition, open_original: OpenOriginal, to: Path
    ) -> None:
        """Do what `rendering.render` does, in a process.

        Raises:
            OSError: when the disk is full, or the original is gone.
            Internal: TRANSCODING_FAILED.
            Unavailable: SERVICE_STOPPING, or STORAGE_UNAVAILABLE.
        """
        plan = rendering.plan(recording, wanted)

        def open_source(index: int) -> BinaryIO:
            return open_original(plan.sources[index].track)

        try:
            self._do(codec_jobs.render_job(plan, to), wanted.duration_ms / 1000, open_source)
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

    def _do(self, job: Message, sound_seconds: float, open_source: OpenSource) -> Message:
        kind, began, outcome = str(job["job"]), time.monotonic(), "broken"
        try:
            for tried in range(1, _TRIES + 1):
                try:
                    done = self._try(job, sound_seconds + _LEAST_SECONDS, open_source)
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
        raise _failed("The audio could not be prepared: what does it broke, twice.")

    def _try(self, job: Message, seconds: float, open_source: OpenSource) -> Message:
        process = self._take()
        try:
            return process.do(job, seconds, open_source)
        finally:
            if process.usable and process.jobs < _JOBS_OF_A_PROCESS:
                self._put_back(process)
            else:
                self._drop(process)

    def _take(self) -> _Process:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.usable:
                    return process
                self._all.discard(process)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        process = _Process(self._folder)
        with self._lock:
            self._all.add(process)
            closed = self._closed
        try:
            if closed:
                self._require_open()
            process.begin()
        except BaseException:
            self._drop(process)
            raise
        return process

    def _put_back(self, process: _Process) -> None:
        with self._lock:
            process.idle_since = time.monotonic()
            if not self._closed:
                self._idle.append(process)
                return
        self._drop(process)

    def _drop(self, process: _Process) -> None:
        process.end()
        with self._lock:
            self._all.discard(process)

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable(
                "The service stops.", reason="SERVICE_STOPPING", retry_after=_STOPPING_RETRY_SECONDS
            )


class _Process:
    """One codec process, and this end of its socket.

    usable: whether it waits for a job, as far as is known.
    jobs: how many it did.
    idle_since: when it did the last, on the monotonic clock.
    """

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self._socket = _Timed(ours)
        self._wire = Wire(self._socket)
        self.jobs = 0
        self.idle_since = 0.0
        self._ready = False
        with theirs:
            try:
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [
                        *(sys.executable, "-Es", "-m", codec_process.__name__),
                        *(str(os.getpid()), str(folder), str(MEMORY_BYTES)),
                    ],
                    cwd=_ROOT,
                    # Without our environment: it may hold the object store's credentials.
                    env={"OPENBLAS_NUM_THREADS": "1"},
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except BaseException:
                ours.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def usable(self) -> bool:
        return self._ready and self._process.poll() is None

    def begin(self) -> None:
        """Wait until it takes jobs.

        Raises:
            ProcessDiedError: it does not.
        """
        self._socket.limit(_READY_SECONDS)
        self._receive()
        self._ready = True

    def do(self, job: Message, seconds: float, open_source: OpenSource) -> Message:
        """Have it do a job within so many seconds; give it what it asks for.

        Raises:
            ProcessDiedError: it ended before, or had to be.
            VerificationError, OSError, ParleyError: what the job came to.
        """
        self._ready = False
        self._socket.limit(seconds)
        self._send(job)
        with _Sources(open_source) as sources:
            while True:
                message, _ = self._receive()
                if "read" not in message:
                    break
                answer, data = sources.read(message)
                self._send(answer, data)
        self._ready = True
        self.jobs += 1
        if "done" in message:
            return dict(message["done"])
        raise _failure(message, sources.error)

    def end(self) -> None:
        """End it, whatever it does, and wait until it is gone."""
        self._ready = False
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _send(self, message: Message, data: bytes = b"") -> None:
        try:
            self._wire.send(message, data)
        except (BrokenWireError, OSError) as error:
            raise self._died(error) from error

    def _receive(self) -> tuple[Message, bytes]:
        try:
            return self._wire.receive()
        except (BrokenWireError, OSError) as error:
            raise self._died(error) from error

    def _died(self, error: BaseException) -> ProcessDiedError:
        if isinstance(error, TimeoutError):
            return ProcessDiedError("it was not done in time")
        with suppress(subprocess.TimeoutExpired):
            # Its socket closes a moment before it is gone.
            self._process.wait(_LAST_SECONDS)
        return ProcessDiedError(f"it ended with {self._process.returncode}")


class _Timed:
    """A socket as a stream that has so much time for all that is said."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = 0.0

    def limit(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def read(self, most: int) -> bytes:
        self._connection.settimeout(self._left())
        return self._connection.recv(most)

    def write(self, data: bytes | memoryview) -> int:
        self._connection.settimeout(self._left())
        return self._connection.send(data)

    def close(self) -> None:
        self._connection.close()

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Sources:
    """The originals that a job reads, opened when it first asks."""

    def __init__(self, open_source: OpenSource) -> None:
        self._open_source = open_source
        self._files: dict[int, BinaryIO] = {}
        self.error: Exception | None = None

    def __enter__(self) -> _Sources:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def read(self, asked: Message) -> tuple[Message, bytes]:
        """Return the answer to what a process asks for; what went wrong stays here."""
        index = int(asked["read"])
        try:
            if index not in self._files:
                self._files[index] = self._open_source(index)
            file = self._files[index]
            file.seek(int(asked["offset"]))
            return {}, file.read(min(int(asked["length"]), MOST_BYTES))
        except (OSError, ParleyError) as error:
            self.error = error
            return {"failed": True}, b""


def _failure(message: Message, of_source: Exception | None) -> Exception:
    """Return what a job failed with, as if it had been done here."""
    kind = message.get("failed")
    if kind == "source" and of_source is not None:
        return of_source
    if kind == "missing":
        return FileNotFoundError()
    if kind == "disk":
        code = int(message.get("errno", 0))
        return OSError(code, os.strerror(code))
    if kind == VerificationError.__name__:
        return VerificationError("an original does not decode to what was recorded")
    _log.error("codec_job_failed", kind=str(kind)[:100], where=str(message.get("detail"))[:200])
    return _failed("The audio could not be prepared.")


def _failed(message: str) -> ParleyError:
    return Internal(message, reason="TRANSCODING_FAILED", retry_after=5.0)


def _no_source(index: int) -> BinaryIO:
    raise FileNotFoundError(index)
