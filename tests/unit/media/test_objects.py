"""The object store: local folders and their durability, links where there are any."""

from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import S3Store

from services.common.errors import FailedPrecondition, Unavailable
from services.media.adapters.objects import Objects


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10)
    return path


@pytest.mark.parametrize("folder", ["plain", "with space", "percent%20", "ünïcode/deep/er"])
async def test_what_is_put_is_read_back(tmp_path: Path, file: Path, folder: str) -> None:
    root = tmp_path / folder
    objects = Objects.at(root.as_uri())
    await objects.put("recordings/a/learner.flac", file)
    assert (root / "recordings/a/learner.flac").exists()
    assert await objects.read("recordings/a/learner.flac", 250, 10) == bytes(
        [*range(250, 256), *range(4)]
    )
    with objects.open("recordings/a/learner.flac") as reader:
        reader.seek(256)
        assert bytes(reader.read(3)) == b"\0\1\2"


async def test_deleting_takes_what_is_below_and_nothing_beside(tmp_path: Path, file: Path) -> None:
    objects = Objects.at(tmp_path.joinpath("store").as_uri())
    for key in ("recordings/a/1", "recordings/a/2", "recordings/ab/1"):
        await objects.put(key, file)
    for _ in range(2):
        await objects.delete_below("recordings/a/")
    with pytest.raises(FileNotFoundError):
        await objects.read("recordings/a/1", 0, 1)
    assert await objects.read("recordings/ab/1", 0, 1) == b"\0"


async def test_a_folder_that_cannot_be_written_is_a_typed_failure(
    tmp_path: Path, file: Path
) -> None:
    objects = Objects.at(tmp_path.joinpath("store").as_uri())
    await objects.put("recordings", file)  # a file where a folder is needed
    with pytest.raises(Unavailable, match="STORAGE_UNAVAILABLE"):
        await objects.put("recordings/a/1", file)


async def test_a_local_folder_has_no_links(tmp_path: Path) -> None:
    objects = Objects.at(tmp_path.joinpath("store").as_uri())
    with pytest.raises(FailedPrecondition, match="LINKS_NOT_SUPPORTED"):
        await objects.link("a", timedelta(minutes=1))


async def test_a_bucket_has_links_that_end() -> None:
    store = S3Store("bucket", region="eu-west-1", access_key_id="id", secret_access_key="secret")
    url = await Objects(store).link("recordings/a/mix.ogg", timedelta(minutes=10))
    assert url.startswith("https://")
    assert "recordings/a/mix.ogg?" in url
    assert "X-Amz-Expires=600" in url
    assert "secret" not in url


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(ValueError, match="not the URL of an object store"):
        Objects.at("ftp://somewhere/else")
