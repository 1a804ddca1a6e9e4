"""A store whose objects Parley encrypts itself, where the host gives a key for it.

Objects of one recording share a key, kept beside them in `key.json`. An original that has none was
stored before there was a key, and is read as it is, if it is one: what was sealed and lost its key
is refused.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.common.errors import FailedPrecondition
from services.media.adapters.objects import Objects, Version
from services.media.adapters.ranged_file import RangedFile
from services.media.adapters.sealed_chunks import (
    CHUNK_BYTES,
    KEY_BYTES,
    BrokenSealError,
    SealedSize,
    object_cipher,
    seal,
    unseal,
)
from services.media.adapters.sealed_parts import SealedParts
from services.media.adapters.sealing_keys import (
    KEY_NAME,
    BrokenKeyError,
    SealingKeys,
    UnknownKeyError,
    WrongKeyError,
)
from services.media.ports import LostError, PartStore, Stored

_log = structlog.get_logger(__name__)

_REMEMBERED = 1_000
"""Recordings whose keys are in memory, and objects of which it is known how they are read: some
hundred bytes each."""

_READ_AHEAD = 16 * CHUNK_BYTES
"""Read from a store at once by who reads on and on: a request a megabyte."""

_ORIGINAL, _BEGINS = ".flac", b"fLaC"
"""How the name of an original ends, and its bytes begin."""

_ONE_REQUEST_BYTES = 5 * 1024 * 1024
"""Stored by one request up to this size, as obstore does."""


class SealedObjects:
    """`ObjectStore` over a store that sees ciphertext alone, where there are keys."""

    def __init__(self, objects: Objects, keys: SealingKeys) -> None:
        self._objects = objects
        self._keys = keys
        # Not those that there are not: one may be put back.
        self._recording_keys: OrderedDict[str, bytes] = OrderedDict()
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        # Originals that were never sealed. Another object in the place of one has another version.
        self._plain: OrderedDict[str, Version] = OrderedDict()
        # Two objects of one recording must not come by different keys at once.
        self._making = asyncio.Lock()

    @property
    def parts(self) -> PartStore | None:
        """Uploads in parts, sealed like everything else; None where the store has none."""
        below = self._objects.parts
        return None if below is None else SealedParts(below, self)

    async def put(self, key: str, file: Path) -> None:
        """Store a file. Returning means that a power cut does not lose it."""
        cipher = await self.cipher_to_write(key)
        if cipher is None:
            await self._objects.put(key, file)
            return
        self.forget(key)
        sealed = seal(cipher, 0, _pieces(file), ends=True)
        if (await asyncio.to_thread(file.stat)).st_size <= _ONE_REQUEST_BYTES:
            await self._objects.put(key, await asyncio.to_thread(b"".join, sealed))
        else:
            await self._objects.put(key, sealed)

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return a range of an object's bytes.

        Raises:
            FailedPrecondition: RECORDING_SEALED, when no key of the settings opens it; a
                `LostError` where it was changed, or its own key is gone.
        """
        known = self._plain.get(key)
        if known is not None:
            found = await self._objects.read_version(key, offset, length)
            if found.version == known:
                return found.data
            self.forget(key)
        opened = await self._open(key)
        if opened is None:
            return await self._read_plain(key, offset, length)
        with _broken_seals(key):
            first, begin, end = opened.size.span(offset, length)
        sealed = await self._objects.read(key, begin, end - begin)
        with _broken_seals(key):
            return await asyncio.to_thread(opened.plain, first, sealed, offset, length)

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading and seeking. Blocks, as reading from it does.

        Raises:
            FailedPrecondition: RECORDING_SEALED, as `read`.
        """
        kept = self._objects.get_now(_key_beside(key))
        if kept is None:
            if self._keys.keys and key.endswith(_ORIGINAL):
                _require_plain(key, self._objects.read_now(key, 0, len(_BEGINS)))
            return self._objects.open(key)
        cipher = object_cipher(self._unwrapped(_recording(key), kept), key)
        with _broken_seals(key):
            opened = _Opened(cipher, SealedSize(self._objects.size_now(key)))
        return io.BufferedReader(_Reader(self._objects, key, opened), _READ_AHEAD)

    async def delete_below(self, prefix: str) -> None:
        """Delete every object whose key begins with `prefix`, and what opens them."""
        await self._objects.delete_below(prefix)
        self._recording_keys.pop(prefix, None)
        for key in [each for each in (*self._opened, *self._plain) if each.startswith(prefix)]:
            self.forget(key)

    def below(self, prefix: str) -> AsyncIterator[Stored]:
        """Yield every object whose key begins with `prefix`."""
        return self._objects.below(prefix)

    async def link(self, key: str, lifetime: timedelta) -> str:
        """Return a URL that reads an object without credentials for a while.

        Raises:
            FailedPrecondition: LINKS_NOT_SUPPORTED; RECORDING_SEALED, when it was sealed by a key
                that the settings have no more.
        """
        self.require_links()
        await self._recording_key(_recording(key))
        return await self._objects.link(key, lifetime)

    def require_links(self) -> None:
        """Refuse when there are none: the store cannot open what it does not have the key to.

        Raises:
            FailedPrecondition: LINKS_NOT_SUPPORTED.
        """
        if self._keys.keys:
            raise FailedPrecondition(
                "Recordings are encrypted by Parley, so there are no links to them: use "
                "DownloadRecording.",
                reason="LINKS_NOT_SUPPORTED",
            )
        self._objects.require_links()

    async def cipher_to_write(self, key: str) -> AESGCM | None:
        """Return what seals an object; None where it is not to be sealed.

        Its recording's key is made where it has none and the host gives keys. What began sealed
        stays so.

        Raises:
            FailedPrecondition: RECORDING_SEALED, when no key of the settings opens that one.
        """
        recording = _recording(key)
        async with self._making:
            recording_key = await self._recording_key(recording)
            if recording_key is None:
                if not self._keys.keys:
                    return None
                recording_key = os.urandom(KEY_BYTES)
                wrapped = self._keys.wrap(recording_key, recording)
                await self._objects.put(f"{recording}{KEY_NAME}", wrapped)
                self._remember(recording, recording_key)
        return object_cipher(recording_key, key)

    def forget(self, key: str) -> None:
        """Look at an object anew when it is read next."""
        self._opened.pop(key, None)
        self._plain.pop(key, None)

    async def _read_plain(self, key: str, offset: int, length: int) -> bytes:
        """Read what has no key beside it; what is an original is read without asking from then on.

        Raises:
            FailedPrecondition: RECORDING_SEALED.
        """
        found = await self._objects.read_version(key, offset, length)
        if not key.endswith(_ORIGINAL):
            return found.data
        first = found
        if offset:
            first = await self._objects.read_version(key, 0, len(_BEGINS))
        if self._keys.keys:
            _require_plain(key, first.data)
        version = found.version
        if version is not None and version == first.version and first.data.startswith(_BEGINS):
            self._plain[key] = version
            _forget_oldest(self._plain)
        return found.data

    async def _open(self, key: str) -> _Opened | None:
        """Return what opens an object; None where it is not sealed."""
        opened = self._opened.get(key)
        if opened is None:
            recording_key = await self._recording_key(_recording(key))
            if recording_key is None:
                return None
            with _broken_seals(key):
                size = SealedSize(await self._objects.size(key))
            opened = self._opened[key] = _Opened(object_cipher(recording_key, key), size)
            _forget_oldest(self._opened)
        return opened

    async def _recording_key(self, recording: str) -> bytes | None:
        if recording in self._recording_keys:
            return self._recording_keys[recording]
        kept = await self._objects.get(f"{recording}{KEY_NAME}")
        if kept is None:
            return None
        found = self._unwrapped(recording, kept)
        self._remember(recording, found)
        return found

    def _unwrapped(self, recording: str, kept: bytes) -> bytes:
        try:
            return self._keys.unwrap(kept, recording)
        except (UnknownKeyError, WrongKeyError) as error:
            _log.error("recording_key_missing", recording=recording, problem=str(error))
            kind = LostError if isinstance(error, BrokenKeyError) else FailedPrecondition
            raise _sealed(kind) from error

    def _remember(self, recording: str, key: bytes) -> None:
        self._recording_keys[recording] = key
        _forget_oldest(self._recording_keys)


@dataclass(frozen=True, slots=True)
class _Opened:
    cipher: AESGCM
    size: SealedSize

    def plain(self, first: int, sealed: bytes, offset: int, length: int) -> bytes:
        data = unseal(self.cipher, self.size, first, sealed)
        skip = offset - first * CHUNK_BYTES
        return data[skip : skip + length]


class _Reader(RangedFile):
    """A sealed object as an ordinary file."""

    def __init__(self, objects: Objects, key: str, opened: _Opened) -> None:
        super().__init__(opened.size.plain)
        self._objects = objects
        self._key = key
        self._opened = opened

    def get(self, offset: int, length: int) -> bytes:
        with _broken_seals(self._key):
            first, begin, end = self._opened.size.span(offset, length)
            sealed = self._objects.read_now(self._key, begin, end - begin)
            return self._opened.plain(first, sealed, offset, length)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while piece := source.read(CHUNK_BYTES):
            yield piece


def _recording(key: str) -> str:
    """Return what the keys of all objects of a recording begin with."""
    return f"{key.rpartition('/')[0]}/"


def _key_beside(key: str) -> str:
    return f"{_recording(key)}{KEY_NAME}"


def _forget_oldest(remembered: OrderedDict[str, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)


def _require_plain(key: str, begins: bytes) -> None:
    """Refuse what has no key and is no original either. Of an empty one there is nothing to tell.

    Raises:
        FailedPrecondition: RECORDING_SEALED.
    """
    begins = begins[: len(_BEGINS)]
    if begins != _BEGINS[: len(begins)]:
        _log.error("recording_key_missing", recording=_recording(key), problem="no key beside it")
        raise _sealed(LostError)


@contextmanager
def _broken_seals(key: str) -> Iterator[None]:
    try:
        yield
    except BrokenSealError as error:
        _log.error("recording_seal_broken", key=key, problem=str(error))
        raise _sealed(LostError) from error


def _sealed(kind: type[FailedPrecondition]) -> FailedPrecondition:
    return kind(
        "The recording is encrypted, and no key of this installation opens it.",
        reason="RECORDING_SEALED",
    )
