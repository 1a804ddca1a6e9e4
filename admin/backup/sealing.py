"""Backups that only who has the host's key for them can read.

Every file but the manifest is sealed as recordings in a store are: AES-256-GCM in chunks, of which
none can be changed, left out or moved. The key is one of this backup alone. It lies in the manifest
wrapped by the host's, together with the digest of all else that stands there: whoever has the key
notices whatever somebody without it changed, and whoever has not can still compare digests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

from admin.errors import AdminError, DamagedBackupError, UnfitBackupError, WrongUseError
from services.media.adapters.sealed_chunks import (
    CHUNK_BYTES,
    KEY_BYTES,
    SEALED_CHUNK_BYTES,
    BrokenSealError,
    SealedSize,
    object_cipher,
    seal,
    unseal,
)
from services.media.adapters.sealing_keys import (
    SealingKeys,
    UnknownKeyError,
    WrongKeyError,
    new_key,
    wrapped_by,
)

_CHUNK_OVERHEAD = SEALED_CHUNK_BYTES - CHUNK_BYTES


class Readable(Protocol):
    """What bytes come out of."""

    def read(self, size: int, /) -> bytes:
        """Return about so many, fewer at the end, and none after it."""
        ...


class Writable(Protocol):
    """What bytes go into."""

    def write(self, data: bytes, /) -> object:
        """Take them."""
        ...


@dataclass(frozen=True, slots=True)
class Seal:
    """What seals the files of one backup, and opens them."""

    key: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Seal:
        """Return one for a backup that is about to be made."""
        return cls(os.urandom(KEY_BYTES))

    def sealed(self, name: str, source: Readable) -> Readable:
        """Return what reads as the file of this name, sealed."""
        return _Sealed(seal(object_cipher(self.key, name), 0, _pieces(source), ends=True))

    def unsealed(self, name: str, size: int, copy: IO[bytes]) -> Unsealed:
        """Return what takes the `size` bytes of a sealed file and writes to `copy` what it was.

        Raises:
            DamagedBackupError: no sealed file has that many.
        """
        return Unsealed(self, name, size, copy)


def sealed_size(size: int) -> int:
    """Return how many bytes a file has when it is sealed."""
    return size + -(-size // CHUNK_BYTES) * _CHUNK_OVERHEAD


def wrapped(made: Seal, keys: SealingKeys, digest: str) -> str:
    """Return the key of a backup as its manifest, of this digest without it, keeps it."""
    return keys.wrap(made.key, f"backup {digest}").decode()


def opened(kept: str, keys: SealingKeys, digest: str) -> Seal:
    """Return what opens the files of a backup, by what `wrapped` gave.

    Raises:
        UnfitBackupError: none of the keys is the one, or the manifest was changed.
    """
    try:
        return Seal(keys.unwrap(kept.encode(), f"backup {digest}"))
    except UnknownKeyError as error:
        raise UnfitBackupError(
            f"The backup is sealed by the key {error}, which is not in the key file."
        ) from error
    except WrongKeyError as error:
        raise UnfitBackupError(
            f"The backup does not open with the key {sealed_by(kept)}: the key file has another "
            "one of that name, or the manifest was changed."
        ) from error


def sealed_by(kept: str) -> str:
    """Return the name of the host's key that a backup needs."""
    return wrapped_by(kept.encode())


def keys_in(file: Path) -> SealingKeys:
    """Read a key file: `name:key` a line; the first seals, all open.

    Raises:
        WrongUseError: there is none, or something else in it.
    """
    try:
        keys = SealingKeys.parse(",".join(file.read_text("ascii").split()))
    except OSError as error:
        raise WrongUseError(f"The key file cannot be read: {error}.") from error
    except ValueError as error:
        said = "it is no text" if isinstance(error, UnicodeError) else str(error)
        raise WrongUseError(f"{file} is no key file: {said}.") from error
    if not keys.keys:
        raise WrongUseError(f"There is no key in {file}.")
    return keys


def make_key_file(file: Path, name: str) -> None:
    """Make a key file of one new key, its owner's alone.

    Raises:
        AdminError: something is there already, or it cannot be written.
    """
    line = new_key(name)
    try:
        SealingKeys.parse(line)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except ValueError as error:
        raise WrongUseError(f"A key cannot be named {name!r}: {error}.") from error
    except FileExistsError as error:
        raise AdminError(f"{file} is there already.", "A key overwrites nothing.") from error
    except OSError as error:
        raise AdminError(f"The key cannot be written: {error}.") from error
    with os.fdopen(descriptor, "w") as written:
        written.write(f"{line}\n")
        written.flush()
        os.fsync(written.fileno())


def _pieces(source: Readable) -> Iterator[bytes]:
    return iter(partial(source.read, CHUNK_BYTES), b"")


class _Sealed:
    """Whole chunks, as many as fit into what is asked for, but one at least."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int, /) -> bytes:
        return b"".join(islice(self._chunks, max(1, size // SEALED_CHUNK_BYTES)))


class Unsealed:
    """Takes a sealed file in pieces of any size, and writes what it was."""

    def __init__(self, made: Seal, name: str, size: int, copy: IO[bytes]) -> None:
        self._name = name
        self._cipher = object_cipher(made.key, name)
        try:
            # Of a file with nothing in it nothing is sealed.
            self._size = SealedSize(size) if size else None
        except BrokenSealError as error:
            raise self._damaged(str(error)) from error
        self._copy = copy
        self._held = b""
        self._done = 0

    def write(self, data: bytes, /) -> None:
        """Take more of it.

        Raises:
            DamagedBackupError: it is not what was sealed.
        """
        self._held += data
        self._unseal(len(self._held) // SEALED_CHUNK_BYTES)

    def finish(self) -> None:
        """Write what is left; the file has ended.

        Raises:
            DamagedBackupError: it is not what was sealed.
        """
        self._unseal(1 if self._held else 0)

    def _unseal(self, chunks: int) -> None:
        whole, self._held = (
            self._held[: chunks * SEALED_CHUNK_BYTES],
            self._held[chunks * SEALED_CHUNK_BYTES :],
        )
        if not whole:
            return
        if self._size is None:
            raise self._damaged("it was empty")
        try:
            self._copy.write(unseal(self._cipher, self._size, self._done, whole))
        except BrokenSealError as error:
            raise self._damaged(str(error)) from error
        self._done += chunks

    def _damaged(self, why: str) -> DamagedBackupError:
        return DamagedBackupError(f"{self._name} is not what was sealed: {why}.")
