"""Where a backup is written: a folder, or one tar file. Neither is ever seen half-written.

Both are written in a folder beside their place, `….partial`, forced to disk, and only then renamed
out of it. A tar file is not compressed: recordings are, and its parts can be read without the rest.
A `SealedShelf` seals what comes to either.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol

from admin.backup.manifest import NAME, Entry, Manifest
from admin.backup.sealing import Readable, Seal, Writable, sealed_size
from admin.errors import AdminError
from services.common.durable import sync_path

TAR_SUFFIX = ".tar"
"""What the name of a backup in one file ends in."""

_CHUNK = 1 << 20

# What is on its way into a tar file lies in memory up to here, and on the disk beyond.
_IN_MEMORY = 16 << 20

Told = Callable[[int], None]
"""Called with each number of bytes that was done."""


Complete = Callable[[Manifest], None]
"""Completes a backup: it is in its place when this returns."""


class SizeMismatchError(Exception):
    """A file has not the size that was said of it; nothing of it was kept."""


class Shelf(Protocol):
    """Where a backup is being written."""

    @property
    def scratch(self) -> Path:
        """A folder for what is made on the way. It goes when the backup is complete, or fails."""
        ...

    def add(
        self, name: str, source: Readable, changed_at: float = 0.0, size: int | None = None
    ) -> Entry:
        """Copy `source` to its end under `name`; return what is there now.

        Raises:
            SizeMismatchError: it does not have `size` bytes.
            Exception: what reading it raised. In either case nothing of it is kept.
        """
        ...


class SealedShelf:
    """Seals what is put on a shelf. What is on its scratch is not sealed."""

    def __init__(self, shelf: Shelf, made: Seal) -> None:
        self._shelf = shelf
        self._seal = made

    @property
    def scratch(self) -> Path:
        """See `Shelf`."""
        return self._shelf.scratch

    def add(
        self, name: str, source: Readable, changed_at: float = 0.0, size: int | None = None
    ) -> Entry:
        """See `Shelf`; the entry is of what is there, which is sealed."""
        expected = None if size is None else sealed_size(size)
        return self._shelf.add(name, self._seal.sealed(name, source), changed_at, expected)


@contextmanager
def new_shelf(
    place: Path, told: Told, scratch: Path | None = None
) -> Iterator[tuple[Shelf, Complete]]:
    """Yield a shelf for a backup at `place`, and what completes it with its manifest.

    Without that, or where it fails, nothing is left. `place` ending in `.tar` is one file.
    scratch: where its scratch is to be, if not beside it: it goes with the rest.

    Raises:
        AdminError: something is there already, or the folder that it would be in is not; another
            writes there, or the disk is full.
    """
    if place.exists() or place.is_symlink():
        raise AdminError(f"{place} is there already.", "A backup overwrites nothing: name another.")
    if not place.parent.is_dir():
        # On a disk that is not mounted, it would fill another.
        raise AdminError(
            f"There is no folder {place.parent}.", "Is its disk mounted? Make it, or name another."
        )
    partial = place.with_name(f"{place.name}.partial")
    try:
        with ExitStack() as stack:
            stack.enter_context(_held(partial))
            if scratch is None:
                scratch = partial / "scratch"
                scratch.mkdir(mode=0o700)
            else:
                stack.enter_context(_held(scratch))
            as_tar = place.suffix == TAR_SUFFIX
            shelf = stack.enter_context(_made(partial, scratch, told, as_tar=as_tar))

            def complete(manifest: Manifest) -> None:
                shelf.complete(manifest).rename(place)
                sync_path(place.parent)

            yield shelf, complete
    except OSError as error:
        raise AdminError(f"The backup cannot be written to {place}: {error}.") from error


@contextmanager
def _made(
    partial: Path, scratch: Path, told: Told, *, as_tar: bool
) -> Iterator[_FolderShelf | _TarShelf]:
    if not as_tar:
        yield _FolderShelf(partial / "whole", scratch, told)
        return
    path = partial / f"whole{TAR_SUFFIX}"
    with _new_file(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
        yield _TarShelf(path, scratch, file, tar, told)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Make a folder that goes in the end; the kernel lets go of it however this process ends."""
    _clear(folder)
    folder.mkdir(mode=0o700)
    try:
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(held)
    finally:
        _remove(folder)


class _FolderShelf:
    def __init__(self, folder: Path, scratch: Path, told: Told) -> None:
        folder.mkdir(mode=0o700)
        self.scratch = scratch
        self._folder = folder
        self._told = told

    def add(
        self, name: str, source: Readable, changed_at: float = 0.0, size: int | None = None
    ) -> Entry:
        path = self._folder / name
        for folder in reversed(path.relative_to(self._folder).parents):
            # `parents=True` would make the ones between as the umask says.
            (self._folder / folder).mkdir(exist_ok=True, mode=0o700)
        try:
            with _new_file(path) as file:
                copied, digest = read_through(source, self._told, file)
                file.flush()
                os.fsync(file.fileno())
            _require_size(copied, size)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Entry(name, copied, digest, changed_at)

    def complete(self, manifest: Manifest) -> Path:
        with _new_file(self._folder / NAME) as file:
            file.write(manifest.write())
            file.flush()
            os.fsync(file.fileno())
        for folder in (self._folder, *(each for each in self._folder.rglob("*") if each.is_dir())):
            sync_path(folder)
        return self._folder


class _TarShelf:
    def __init__(
        self, path: Path, scratch: Path, file: IO[bytes], tar: tarfile.TarFile, told: Told
    ) -> None:
        self.scratch = scratch
        self._path = path
        self._file = file
        self._tar = tar
        self._told = told

    def add(
        self, name: str, source: Readable, changed_at: float = 0.0, size: int | None = None
    ) -> Entry:
        # Its size stands before it in a tar file, and is only known when all of it was read.
        with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self.scratch)) as whole:
            copied, digest = read_through(source, self._told, whole)
            _require_size(copied, size)
            whole.seek(0)
            self._put(name, whole, copied, changed_at)
        return Entry(name, copied, digest, changed_at)

    def complete(self, manifest: Manifest) -> Path:
        data = manifest.write()
        self._put(NAME, io.BytesIO(data), len(data), 0.0)
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._path

    def _put(self, name: str, source: IO[bytes], size: int, changed_at: float) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(changed_at)
        self._tar.addfile(info, source)


def read_through(source: Readable, told: Told, copy: Writable | None = None) -> tuple[int, str]:
    """Read to the end, copying on the way; return how many bytes there were and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    while data := source.read(_CHUNK):
        digest.update(data)
        if copy is not None:
            copy.write(data)
        size += len(data)
        told(len(data))
    return size, digest.hexdigest()


def _require_size(copied: int, size: int | None) -> None:
    if size is not None and copied != size:
        raise SizeMismatchError(f"{copied:,} bytes, not {size:,}")


def _clear(partial: Path) -> None:
    """Remove what an interrupted backup left; refuse where one is being written."""
    try:
        held = os.open(partial, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AdminError(f"Another backup is being written to {partial}.") from error
    finally:
        os.close(held)
    _remove(partial)


def _new_file(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "wb")


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial)
