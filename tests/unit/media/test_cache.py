"""The cache of transcoded files, which may be deleted at any time."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.media.cache import Cache
from services.media.workers import Workers


def void(_: object) -> None:
    """Let an expression be a function that returns nothing."""


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


async def test_a_recording_deleted_while_another_is_made_does_no_harm(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever listened to the other was told that it was deleted."""
    for recording in ("a", "b"):
        (await cache.open(recording, "mix.wav", lambda path: void(path.write_bytes(b"x")))).close()
    scandir = os.scandir

    def deleted_meanwhile(path: str | Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "a":
            (Path(path) / "mix.wav").unlink(missing_ok=True)
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deleted_meanwhile)
    with await cache.open("c", "mix.wav", lambda path: void(path.write_bytes(b"sound"))) as file:
        assert file.read() == b"sound"
    assert not (tmp_path / "cache" / "a").exists()


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
