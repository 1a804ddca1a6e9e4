"""A process that encodes and transcodes, one job after another; `codec_child` starts it.

    python -m services.media.adapters.codec_process PARENT MEMORY_BYTES FOLDER…

Its standard input is a socket (`codec_wire`) on which jobs come and answers go. It reaches the
files below each FOLDER and nothing else: what it needs of the object store it asks the service for.
So a codec that breaks takes no call with it, and there are no keys here to be had.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, ParamSpec

from services.media.adapters import sandbox
from services.media.adapters.codec_wire import MOST_BYTES, BrokenWireError, Message, Wire
from services.media.adapters.ranged_file import RangedFile
from services.media.ports import DamagedError

P = ParamSpec("P")

_READ_BYTES: Final = 256 * 1024
"""Asked for at once: a few seconds of sound, so that a store far away is asked seldom."""


def main(arguments: Sequence[str]) -> int:
    """Do jobs until the service is gone."""
    parent, memory_bytes = map(int, arguments[:2])
    folders = list(map(Path, arguments[2:]))
    sandbox.alone(parent)
    # Only now: numpy and FFmpeg may begin threads, and nobody with threads leaves the network.
    import av  # noqa: PLC0415

    from services.media.adapters import codec_jobs, originals, rendering  # noqa: PLC0415

    sandbox.preload(av, without={"av.datasets"})

    def complete(job: Message) -> Message:
        made = originals.make_originals(*codec_jobs.read_complete_job(job))
        return codec_jobs.originals_message(made)

    def render(job: Message) -> Message:
        plan, to = codec_jobs.read_render_job(job)

        def open_source(index: int) -> BinaryIO:
            asked = _Asked(wire, index, plan.sources[index].size_bytes)
            return io.BufferedReader(asked, _READ_BYTES)

        rendering.render(plan, open_source, to)
        return {}

    jobs = {codec_jobs.COMPLETE: complete, codec_jobs.RENDER: render}
    with io.FileIO(0, "r+b") as stream, suppress(BrokenWireError):
        wire = Wire(stream)
        bounds = sandbox.Bounds(memory_bytes=memory_bytes)
        lacking = sandbox.enclose(bounds, folders=folders, threads=True)
        wire.send({"ready": True, "lacking": lacking})
        while True:
            job, _ = wire.receive()
            wire.send(_outcome(jobs[job["job"]], job))
    return 0


def _outcome(work: Callable[[Message], Message], job: Message) -> Message:
    """Do a job; return its answer, or what it failed with."""
    try:
        return {"done": work(job)}
    except BrokenWireError:
        raise
    except _SourceFailedError:
        return {"failed": "source"}
    except FileNotFoundError:
        return {"failed": "missing"}
    except OSError as error:
        return {"failed": "disk", "errno": error.errno or 0}
    except Exception as error:  # noqa: BLE001 - told to the service, whose log it goes to
        return {"failed": type(error).__name__, "detail": _where(error)}


def _where(error: BaseException) -> str:
    """Return the place that raised it; its message may tell of more than a log should."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


class _SourceFailedError(Exception):
    """The service could not read what it was asked for; it knows why."""


class _Asked(RangedFile):
    """An original, read by asking the service for it."""

    def __init__(self, wire: Wire, index: int, size: int) -> None:
        super().__init__(size)
        self._wire = wire
        self._index = index

    def get(self, offset: int, length: int) -> bytes:
        wanted = min(length, MOST_BYTES)
        self._wire.send({"read": self._index, "offset": offset, "length": wanted})
        answer, data = self._wire.receive()
        if "failed" in answer:
            raise _SourceFailedError
        if len(data) < wanted:
            raise DamagedError("it is shorter than it was stored")
        return data


if __name__ == "__main__":
    # What is left to do at the end of an interpreter is not worth the calls that it takes.
    os._exit(main(sys.argv[1:]))
