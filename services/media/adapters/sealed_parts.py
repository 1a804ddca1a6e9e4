"""Uploads in parts of a store whose objects Parley encrypts itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.media.adapters.sealed_chunks import CHUNK_BYTES, SEALED_CHUNK_BYTES, cut, seal
from services.media.ports import PartStore, Unfinished, UploadGoneError

_SEALED, _PLAIN = "sealed:", "plain:"


class Sealer(Protocol):
    """What knows the keys of recordings."""

    async def cipher_to_write(self, key: str) -> AESGCM | None:
        """Return what seals an object; None where it is not to be sealed."""
        ...

    def forget(self, key: str) -> None:
        """Look at an object anew when it is read next."""
        ...


class SealedParts:
    """`PartStore` that seals parts on their way, where there are keys.

    Its ids say whether an upload is sealed: one that began otherwise than its recording is now to
    be kept is given up.
    """

    def __init__(self, below: PartStore, sealer: Sealer) -> None:
        self._below = below
        self._sealer = sealer
        # As many chunks as S3's smallest part needs.
        self._chunks = -(-below.part_bytes // SEALED_CHUNK_BYTES)
        self.part_bytes = self._chunks * CHUNK_BYTES

    async def begin(self, key: str) -> str:
        """Begin an upload of an object; return its id."""
        sealed = await self._sealer.cipher_to_write(key) is not None
        return f"{_SEALED if sealed else _PLAIN}{await self._below.begin(key)}"

    async def add(self, key: str, upload_id: str, number: int, data: bytes, *, last: bool) -> str:
        """Seal and store a part.

        Raises:
            UploadGoneError: also when the host's keys came or went since the upload began.
        """
        cipher = await self._sealer.cipher_to_write(key)
        if upload_id.startswith(_SEALED) != (cipher is not None):
            raise UploadGoneError("it began with other keys")
        if cipher is not None:
            first = (number - 1) * self._chunks
            data = await asyncio.to_thread(b"".join, seal(cipher, first, cut(data), ends=last))
        return await self._below.add(key, _bare(upload_id), number, data, last=last)

    async def complete(self, key: str, upload_id: str, tags: Mapping[int, str]) -> None:
        """Make the object of its parts."""
        await self._below.complete(key, _bare(upload_id), tags)
        self._sealer.forget(key)

    async def abandon(self, key: str, upload_id: str) -> None:
        """Throw an upload away."""
        await self._below.abandon(key, _bare(upload_id))

    async def unfinished(self, prefix: str) -> Sequence[Unfinished]:
        """Return the uploads of keys that begin with `prefix`."""
        return await self._below.unfinished(prefix)


def _bare(upload_id: str) -> str:
    return upload_id.removeprefix(_SEALED).removeprefix(_PLAIN)
