"""Starts the process that decodes an upload, ends it at its limits, and reads its answer."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil
import structlog

from services.common.errors import ResourceExhausted
from services.media.adapters import decode_process
from services.media.adapters.sandbox import BARRIERS, Bounds
from services.media.problems import Problem, Refused

_log = structlog.get_logger(__name__)

_ROOT: Final = Path(__file__).parents[3]

_MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""Address space; decoding a stream of any length takes about 300 MB, nearly all of it code."""

_HIGHEST_RATE_HZ: Final = 48_000
_SAMPLE_BYTES: Final = 2
_OPEN_FILES: Final = 16

_ANSWER_BYTES: Final = 4_096
_PROBLEMS: Final = frozenset(Problem)
_TOO_COSTLY: Final = {"problem": Problem.TOO_COSTLY}

_CLOCK_SHARE: Final = 2
"""So many times its processor time it may take by the clock."""

_MOST_OF: Final = 0.9
"""Of its processor time: one that had so much would have had all of it a moment later."""

_STARVED_RETRY_SECONDS: Final = 30.0

_ASKED_SECONDS: Final = 60
"""Of processor time, for a process that only tells its barriers: it takes a fraction of one."""

_LOOK_SECONDS: Final = 0.25
"""How often it is asked whether somebody still waits."""


@dataclass(frozen=True, slots=True)
class UploadDecoder:
    """Decodes uploads, each in a process of its own.

    cpu_seconds: that a file may take. It is ended after twice as long by the clock, too: that says
        something of the file only where it had the processor.
    """

    cpu_seconds: int
    memory_bytes: int = _MEMORY_BYTES

    def decode(
        self,
        source: Path,
        container: str,
        target: Path,
        max_seconds: float,
        given_up: Callable[[], bool] = lambda: False,
    ) -> int:
        """Decode `source` to `target` as PCM_S16LE mono; return its rate in hertz. Blocks.

        Raises:
            Refused: with what is wrong with it.
            ResourceExhausted: MEDIA_BUSY, when this machine gave it too little time.
            OSError: the disk takes no more, there is no process to be had, or it was given up.
        """
        match self.ask(source, container, target, max_seconds, given_up):
            case {"rate_hz": int(rate_hz), "samples": int(samples)}:
                whole = target.stat().st_size == samples * _SAMPLE_BYTES
                # Its word is not taken for what can be looked at.
                if whole and 0 < rate_hz <= _HIGHEST_RATE_HZ:
                    return rate_hz
                raise Refused(Problem.DAMAGED)
            case {"problem": str(problem)} if problem in _PROBLEMS:
                raise Refused(Problem(problem))
            case {"failed": int(code)}:
                raise OSError(code, os.strerror(code))
            case _:
                raise Refused(Problem.DAMAGED)

    def ask(
        self,
        source: Path,
        container: str,
        target: Path,
        max_seconds: float,
        given_up: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Start the process, and return its answer; see `decode_process`. Blocks.

        Raises:
            ResourceExhausted: MEDIA_BUSY, when this machine gave it too little time.
        """
        if given_up():
            return {"failed": errno.ECANCELED}
        bounds = Bounds(
            memory_bytes=self.memory_bytes,
            cpu_seconds=self.cpu_seconds,
            file_bytes=math.ceil(max_seconds * _HIGHEST_RATE_HZ * _SAMPLE_BYTES) + 1024 * 1024,
            open_files=_OPEN_FILES,
        )
        # The answer goes to a file: a pipe that is read would take as much as is written.
        with (
            source.open("rb") as upload,
            target.open("wb") as samples,
            tempfile.TemporaryFile() as said,
        ):
            order = decode_process.Order(
                os.getpid(), container, samples.fileno(), max_seconds, bounds
            )
            process = subprocess.Popen(
                [sys.executable, "-Es", "-m", decode_process.__name__, *order.arguments()],
                cwd=_ROOT,
                # Without our environment: it may hold the object store's credentials.
                env={"OPENBLAS_NUM_THREADS": "1"},
                stdin=upload,
                stdout=said,
                stderr=subprocess.DEVNULL,
                pass_fds=(samples.fileno(),),
            )
            try:
                if not _ended(process, _CLOCK_SHARE * self.cpu_seconds, given_up):
                    if given_up():
                        return {"failed": errno.ECANCELED}
                    return self._out_of_time(_cpu_seconds(process.pid))
            finally:
                process.kill()
                process.wait()
            said.seek(0)
            answer = _read(said.read(_ANSWER_BYTES))
        if answer:
            return answer
        # It did not live to answer: the kernel ended it at a limit, or a decoder broke.
        _log.warning("upload_decoder_died", container=container, status=process.returncode)
        at_a_limit = process.returncode in (-signal.SIGKILL, -signal.SIGXCPU)
        return _TOO_COSTLY if at_a_limit else {"problem": Problem.DAMAGED}

    def _out_of_time(self, spent_seconds: float) -> dict[str, Any]:
        """Return the answer to a file that was not done by the clock's limit."""
        if spent_seconds >= _MOST_OF * self.cpu_seconds:
            return _TOO_COSTLY
        _log.warning("upload_decoder_starved", cpu_seconds=round(spent_seconds, 1))
        raise ResourceExhausted(
            "This machine has too much else to do to decode the file now.",
            reason="MEDIA_BUSY",
            retry_after=_STARVED_RETRY_SECONDS,
        )


@cache
def lacking_barriers() -> tuple[str, ...]:
    """Return the barriers around a decoder that this system lacks. Blocks the first time."""
    nothing = Path(os.devnull)
    try:
        named = UploadDecoder(_ASKED_SECONDS).ask(nothing, "", nothing, 1.0).get("lacking")
    except ResourceExhausted:
        # Better one alarm too many than one too few.
        named = None
    return tuple(map(str, named)) if isinstance(named, list) else BARRIERS


def _ended(process: subprocess.Popen[bytes], seconds: float, given_up: Callable[[], bool]) -> bool:
    """Wait until a process ends, so many seconds at most; tell whether it did."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not given_up():
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
            return True
    return False


def _cpu_seconds(pid: int) -> float:
    """Return the processor time that a process which nobody waited for yet has had."""
    spent = psutil.Process(pid).cpu_times()
    return spent.user + spent.system


def _read(answer: bytes) -> dict[str, Any]:
    try:
        read = json.loads(answer)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
