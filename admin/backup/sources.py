"""A backup that is there, a folder or one tar file: what it holds, and whether it is whole."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol

from admin.backup import sealing
from admin.backup.manifest import NAME, Manifest, digest_without_seal, read
from admin.backup.sealing import Seal
from admin.backup.shelves import Told, read_through
from admin.errors import DamagedBackupError, NothingThereError
from services.media.adapters.sealing_keys import SealingKeys

# Of what is wrong with a backup so much is told.
_SHOWN = 5


class Source(Protocol):
    """A backup that is there, whose manifest was read."""

    @property
    def manifest(self) -> Manifest:
        """What it holds."""
        ...

    @property
    def seal(self) -> Seal | None:
        """What opens its files; None where they are not sealed, or no key for them was given."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open one of its files for reading, sealed if it is.

        Raises:
            DamagedBackupError: it is not there.
        """
        ...


@contextmanager
def opened(place: Path, keys: SealingKeys | None = None) -> Iterator[Source]:
    """Yield the backup at `place`, its manifest read and nothing else looked at yet.

    keys: with them, a sealed one is opened, and its manifest known to be what was sealed.

    Raises:
        NothingThereError: there is none.
        DamagedBackupError: its manifest is not there or not what was written.
        UnfitBackupError: a newer Parley wrote it, or none of the keys opens it.
    """
    if place.is_dir():
        yield _FolderSource(place, keys)
    elif place.is_file():
        try:
            with tarfile.open(place, "r:") as tar:
                yield _TarSource(tar, keys)
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
        raise DamagedBackupError(f"The backup is damaged, and not restored.\n{shown}{more}")


def _seal_of(manifest: Manifest, data: bytes, keys: SealingKeys | None) -> Seal | None:
    if not manifest.seal or keys is None:
        return None
    return sealing.opened(manifest.seal, keys, digest_without_seal(data))


class _FolderSource:
    def __init__(self, folder: Path, keys: SealingKeys | None) -> None:
        self._folder = folder
        try:
            data = (folder / NAME).read_bytes()
        except FileNotFoundError:
            raise DamagedBackupError(
                f"{folder} is no backup, or not a whole one: it has no {NAME}."
            ) from None
        self.manifest = read(data)
        self.seal = _seal_of(self.manifest, data, keys)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        path = self._folder / name
        if not path.is_file():
            raise DamagedBackupError("it is missing")
        with path.open("rb") as file:
            yield file


class _TarSource:
    def __init__(self, tar: tarfile.TarFile, keys: SealingKeys | None) -> None:
        self._tar = tar
        self._members = {each.name: each for each in tar.getmembers() if each.isreg()}
        found = self._members.get(NAME)
        file = tar.extractfile(found) if found is not None else None
        if file is None:
            raise DamagedBackupError(f"This is no backup, or not a whole one: it has no {NAME}.")
        data = file.read()
        self.manifest = read(data)
        self.seal = _seal_of(self.manifest, data, keys)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        member = self._members.get(name)
        file = self._tar.extractfile(member) if member is not None else None
        if file is None:
            raise DamagedBackupError("it is missing")
        with file:
            yield file
