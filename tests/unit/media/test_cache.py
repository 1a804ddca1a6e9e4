"""The cache of transcoded files, which may be deleted at any time."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.media.cache import Cache
from services.media.workers import Workers


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    async with Workers.open("test", 1, 1) as workers:
        cache = Cache(tmp_path / "cache", 1_000, workers)
        yield cache
        await cache.close()


async def test_a_folder_deleted_while_a_file_is_made_is_made_again(
    cache: Cache, tmp_path: Path
) -> None:
    """Whoever listened was told that the recording was deleted."""
    tried = []

    def make(path: Path) -> None:
        tried.append(path)
        if len(tried) == 1:
            shutil.rmtree(tmp_path / "cache")
        path.write_bytes(b"sound")

    with await cache.open("a", "mix.wav", make) as file:
        assert file.read() == b"sound"


async def test_an_original_that_is_gone_is_gone(cache: Cache) -> None:
    def make(path: Path) -> None:
        raise FileNotFoundError("the original")

    with pytest.raises(FileNotFoundError, match="the original"):
        await cache.open("a", "mix.wav", make)


@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.ENOSPC, "the disk takes no more"), (errno.EACCES, "its folder cannot be written")],
)
async def test_why_a_file_cannot_be_made_is_told(cache: Cache, code: int, says: str) -> None:
    def make(path: Path) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(Unavailable, match=says) as caught:
        await cache.open("a", "mix.wav", make)
    assert caught.value.reason == "STORAGE_UNAVAILABLE"
