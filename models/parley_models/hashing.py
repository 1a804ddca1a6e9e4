"""SHA-256 of files, read in pieces."""

import hashlib
from collections.abc import Callable
from pathlib import Path

PIECE_BYTES = 1 << 20
"""Large enough that the hash, not the reading, sets the pace; small enough to report progress."""


def sha256_of(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """The file's SHA-256 in lower-case hex; `on_bytes` is told after each piece how many."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            on_bytes(len(piece))
    return digest.hexdigest()


def is_file_with(path: Path, size_bytes: int, sha256: str) -> bool:
    """Whether `path` is a file of that size and hash. The size is looked at first."""
    return path.is_file() and path.stat().st_size == size_bytes and sha256_of(path) == sha256
