"""What Parley encrypts itself: an object's bytes as chunks that are each whole or refused.

A chunk is a nonce of 12 bytes, 64 KiB of the object under AES-256-GCM, and a tag of 16 bytes; the
last one is shorter. Which chunk it is, and whether it is the last, is authenticated with it: no
chunk can be changed, left out, moved, or put from one object into another. Any range is read by
reading its chunks alone. The key is the object's own (HKDF-SHA256 of its recording's key and its
name), so random nonces serve: a key seals some ten thousand chunks, where 2^32 are safe (NIST SP
800-38D, 8.3).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK_BYTES = 64 * 1024
"""Of the object, in a chunk: a player's smallest read, and 0.04 % of room for its nonce and tag."""

_NONCE_BYTES = 12
_TAG_BYTES = 16
SEALED_CHUNK_BYTES = _NONCE_BYTES + CHUNK_BYTES + _TAG_BYTES
"""The same, as it is kept."""

KEY_BYTES = 32


class BrokenSealError(Exception):
    """A chunk is not as it was sealed, or another key sealed it."""


def object_cipher(recording_key: bytes, name: str) -> AESGCM:
    """Return what seals and opens the object of a name, in the recording that a key is of."""
    derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=f"parley object 1 {name}".encode())
    return AESGCM(derived.derive(recording_key))


def seal(cipher: AESGCM, first: int, pieces: Iterable[bytes], *, ends: bool) -> Iterator[bytes]:
    """Yield chunks of `pieces`, beginning with chunk number `first`.

    Each piece but the last holds CHUNK_BYTES. ends: whether the object ends with the last one.
    """
    number, held = first, None
    for piece in pieces:
        if held is not None:
            yield _seal_one(cipher, number, held, last=False)
            number += 1
        held = piece
    if held is not None:
        yield _seal_one(cipher, number, held, last=ends)


def cut(data: bytes) -> Iterator[bytes]:
    """Yield the pieces that `seal` takes."""
    for at in range(0, len(data), CHUNK_BYTES):
        yield data[at : at + CHUNK_BYTES]


@dataclass(frozen=True, slots=True)
class SealedSize:
    """How much there is of a sealed object, which holds a byte at least.

    sealed: bytes, as it is kept.

    Raises:
        BrokenSealError: no object has that many; what was sealed is cut off or gone.
    """

    sealed: int

    def __post_init__(self) -> None:
        last = self.sealed - (self.chunks - 1) * SEALED_CHUNK_BYTES
        if not self.chunks or last <= _NONCE_BYTES + _TAG_BYTES:
            raise BrokenSealError(f"{self.sealed:,} bytes are no sealed object")

    @property
    def chunks(self) -> int:
        """How many chunks it has."""
        return -(-self.sealed // SEALED_CHUNK_BYTES)

    @property
    def plain(self) -> int:
        """How many bytes the object has."""
        return self.sealed - self.chunks * (_NONCE_BYTES + _TAG_BYTES)

    def span(self, offset: int, length: int) -> tuple[int, int, int]:
        """Return the chunks that hold a range: the first, and where they begin and end as kept.

        Raises:
            BrokenSealError: the object ends before the range begins.
        """
        if not 0 <= offset < self.plain or length <= 0:
            raise BrokenSealError(f"{length:,} bytes from {offset:,} on are not in {self.plain:,}")
        end = min(offset + length, self.plain)
        first, after = offset // CHUNK_BYTES, -(-end // CHUNK_BYTES)
        return first, first * SEALED_CHUNK_BYTES, min(after * SEALED_CHUNK_BYTES, self.sealed)


def unseal(cipher: AESGCM, size: SealedSize, first: int, sealed: bytes) -> bytes:
    """Return what whole chunks from number `first` on hold.

    Raises:
        BrokenSealError: a chunk is not as it was sealed.
    """
    opened = []
    for number, at in enumerate(range(0, len(sealed), SEALED_CHUNK_BYTES), first):
        chunk = sealed[at : at + SEALED_CHUNK_BYTES]
        last = number == size.chunks - 1
        try:
            opened.append(
                cipher.decrypt(
                    chunk[:_NONCE_BYTES], chunk[_NONCE_BYTES:], _place(number, last=last)
                )
            )
        except (InvalidTag, ValueError) as error:
            raise BrokenSealError(f"chunk {number} is not as it was sealed") from error
    return b"".join(opened)


def _seal_one(cipher: AESGCM, number: int, piece: bytes, *, last: bool) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, piece, _place(number, last=last))


def _place(number: int, *, last: bool) -> bytes:
    return number.to_bytes(8, "big") + bytes([last])
