"""Transcoded files, kept for the next download up to a bound.

It holds nothing that cannot be made again: deleting the folder is always fine.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from services.common.errors import Unavailable
from services.media.renditions import UNFINISHED
from services.media.workers import Workers

_log = structlog.get_logger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Make = Callable[[Path], None]
"""Writes a file; it appears only when it is complete. Blocks."""


class Cache:
    """Files by recording and name. Two callers who want the same file wait for one job."""

    def __init__(self, folder: Path, max_bytes: int, workers: Workers) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._workers = workers
        self._jobs: dict[tuple[str, str], _Job] = {}

    async def open(self, recording_id: str, name: str, make: Make) -> BinaryIO:
        """Return the file, open for reading; the caller closes it. It is made when it is missing.

        It can be read to its end even when it is evicted meanwhile. Read it with `os.pread`: those
        who waited for the same job share its position.

        Raises:
            ResourceExhausted: MEDIA_BUSY, when too many files are being made.
            Unavailable: STORAGE_UNAVAILABLE, when the disk takes no more.
        """
        path = self._folder / recording_id / name
        found = await asyncio.to_thread(_open_existing, path)
        if found is not None:
            return found
        key = (recording_id, name)
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job(
                asyncio.create_task(self._workers.run(self._make, path, make))
            )
            job.task.add_done_callback(lambda _: self._done(key))
        return await job.join()

    def clear_halves(self) -> None:
        """Remove what a kill left half made. Blocks; call it at the start."""
        for path in self._folder.glob(f"*/*{UNFINISHED}"):
            path.unlink(missing_ok=True)

    def remove(self, recording_id: str) -> None:
        """Remove every file of a recording. Blocks."""
        shutil.rmtree(self._folder / recording_id, ignore_errors=True)

    async def close(self) -> None:
        """Cancel the jobs in progress and wait for them."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _make(self, path: Path, make: Make) -> BinaryIO:
        try:
            try:
                file = _written(path, make)
            except (FileNotFoundError, PermissionError):
                # The folder may be deleted at any time, now as well; what is gone stays gone.
                file = _written(path, make)
            self._evict()
        except FileNotFoundError:
            raise
        except OSError as error:
            full = error.errno in _FULL
            _log.error("rendering_not_written", problem=errno.errorcode.get(error.errno or 0))
            why = "the disk takes no more" if full else "its folder cannot be written"
            raise Unavailable(
                f"The audio cannot be prepared: {why}.",
                reason="STORAGE_UNAVAILABLE",
                retry_after=5.0,
            ) from error
        return file

    def _evict(self) -> None:
        """Remove the files that were used longest ago, until the rest fits."""
        files = []
        # Not `glob`: it fails where a folder vanishes, and recordings are deleted at any time.
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    if not name.endswith(UNFINISHED):
                        files.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _done(self, key: tuple[str, str]) -> None:
        self._jobs.pop(key).close_unless_wanted()


class _Job:
    """A file being made, and how many wait for it. It is closed when the last has its copy."""

    def __init__(self, task: asyncio.Task[BinaryIO]) -> None:
        self.task = task
        self._waiting = 0

    async def join(self) -> BinaryIO:
        self._waiting += 1
        try:
            file = await asyncio.shield(self.task)
            return os.fdopen(os.dup(file.fileno()), "rb")
        finally:
            self._waiting -= 1
            self.close_unless_wanted()

    def close_unless_wanted(self) -> None:
        if self._waiting or not self.task.done() or self.task.cancelled():
            return
        if self.task.exception() is None:
            self.task.result().close()


def _written(path: Path, make: Make) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    make(path)
    return path.open("rb")


def _open_existing(path: Path) -> BinaryIO | None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    # The time of change says when it was last used; the times of access are often switched off.
    os.utime(file.fileno())
    return file
