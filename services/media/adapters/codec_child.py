"""A codec process, as the service sees it: started, given one job after another, and ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar, cast

import structlog

from services.common.errors import Internal, ParleyError
from services.media.adapters import codec_process
from services.media.adapters.codec_wire import MOST_BYTES, BrokenWireError, Message, Wire
from services.media.ports import DamagedError, VerificationError

_log = structlog.get_logger(__name__)

_ROOT: Final = Path(__file__).parents[3]

MEMORY_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Address space of a process; it uses about 60 MB, and 300 MB more are code."""

_READY_SECONDS: Final = 60.0
"""A process is there after a fraction of a second, on a machine that does nothing else."""

_LAST_SECONDS: Final = 1.0

T = TypeVar("T")
OpenSource = Callable[[int], BinaryIO]
"""Opens the original of a source by its index."""
ReadAnswer = Callable[[Any], T]
"""Makes of an answer what the caller gets.

Raises:
    ValueError, KeyError, TypeError: it is no such thing.
"""


class ProcessDiedError(Exception):
    """A process ended, or was ended, before its job was done."""


class CodecChild:
    """One codec process, and this end of its socket.

    jobs: how many it did.
    idle_since: when it did the last, on the monotonic clock.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
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
                        *map(str, (os.getpid(), MEMORY_BYTES, *folders)),
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
        """Its process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Tell whether it waits for a job, as far as is known."""
        return self._ready and self._process.poll() is None

    def begin(self) -> None:
        """Wait until it takes jobs.

        Raises:
            ProcessDiedError: it does not.
        """
        self._socket.limit(_READY_SECONDS)
        self._receive()
        self._ready = True

    def do(self, job: Message, seconds: float, open_source: OpenSource, read: ReadAnswer[T]) -> T:
        """Have it do a job within so many seconds; give it what it asks for.

        `read` makes of its answer what the caller gets.

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
                with _understood():
                    answer, data = sources.read(message)
                self._send(answer, data)
        with _understood():
            done = read(message["done"]) if "done" in message else None
            failure = None if "done" in message else _failure(message, sources.error)
        # Only now: one that says what it cannot is not asked again.
        self._ready = True
        self.jobs += 1
        if failure is not None:
            raise failure
        return cast(T, done)

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


@contextmanager
def _understood() -> Iterator[None]:
    """Take what cannot be an answer for a process that broke."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ProcessDiedError("it said what it cannot") from error


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
    if kind == DamagedError.__name__:
        return DamagedError("an original is not as it was stored")
    _log.error("codec_job_failed", kind=str(kind)[:100], where=str(message.get("detail"))[:200])
    return transcoding_failed("The audio could not be prepared.")


def transcoding_failed(message: str) -> ParleyError:
    """Return what a caller is told whose job could not be done."""
    return Internal(message, reason="TRANSCODING_FAILED", retry_after=5.0)
