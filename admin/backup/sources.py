"""A backup that is there, a folder or one tar file: what it holds, and whether it is whole."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol

from admin.backup.manifest import NAME, Manifest, read
from admin.backup.shelves import Told, read_through
from admin.errors import DamagedBackupError, NothingThereError

# Of what is wrong with a backup so much is told.
_SHOWN = 5


class Source(Protocol):
    """A backup that is there, whose manifest was read."""

    @property
    def manifest(self) -> Manifest:
        """What it holds."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open one of its files for reading.

        Raises:
            DamagedBackupError: it is not there.
        """
        ...


@contextmanager
def opened(place: Path) -> Iterator[Source]:
    """Yield the backup at `place`, its manifest read and nothing else looked at yet.

    Raises:
        NothingThereError: there is none.
        DamagedBackupError: its manifest is not there or not what was written.
        UnfitBackupError: a newer Parley wrote it.
    """
    if place.is_dir():
        yield _FolderSource(place)
    elif place.is_file():
        try:
            with tarfile.open(place, "r:") as tar:
                yield _TarSource(tar)
        except (tarfile.TarError, EOFError) as error:
            raise DamagedBackupError(f"{place} is not a whole tar file: {error}.") from error
    else:
        raise NothingThereError(f"There is no backup at {place}.")


def verify(source: Source, told: Told) -> None:
    """Read every file of a backup and compare it with the manifest.

    Raises:
        DamagedBackupError: naming each that is missing, cut off or changed, up to a handful.
    """
    faults = []
    for entry in source.manifest.files:
        try:
            with source.open(entry.name) as file:
                size, digest = read_through(file, told)
        except (DamagedBackupError, OSError, tarfile.TarError) as error:
            faults.append(f"{entry.name}: {error}")
            continue
        if size != entry.size:
            faults.append(f"{entry.name}: has {size:,} bytes, not {entry.size:,}")
        elif digest != entry.sha256:
            faults.append(f"{entry.name}: its content was changed")
    if faults:
        shown = "\n".join(f"  - {each}" for each in faults[:_SHOWN])
        more = f"\n  and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        raise DamagedBackupError(f"The backup is damaged; nothing was restored.\n{shown}{more}")


class _FolderSource:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            data = (folder / NAME).read_bytes()
        except FileNotFoundError:
            raise DamagedBackupError(
                f"{folder} is no backup, or not a whole one: it has no {NAME}."
            ) from None
        self.manifest = read(data)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        path = self._folder / name
        if not path.is_file():
            raise DamagedBackupError("it is missing")
        with path.open("rb") as file:
            yield file


class _TarSource:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {each.name: each for each in tar.getmembers() if each.isreg()}
        found = self._members.get(NAME)
        file = tar.extractfile(found) if found is not None else None
        if file is None:
            raise DamagedBackupError(f"This is no backup, or not a whole one: it has no {NAME}.")
        self.manifest = read(file.read())

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        member = self._members.get(name)
        file = self._tar.extractfile(member) if member is not None else None
        if file is None:
            raise DamagedBackupError("it is missing")
        with file:
            yield file
