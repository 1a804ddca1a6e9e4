"""The object store: local folders and their durability, links where there are any."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from obstore.store import S3Store

from services.common.errors import FailedPrecondition, Unavailable
from services.media.adapters.objects import Objects
from tests.s3 import client


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


class TestS3:
    """The same on a real server that speaks S3."""

    async def test_what_is_put_is_read_back(
        self, s3_endpoint: str, s3_bucket: str, file: Path
    ) -> None:
        objects = Objects.at(f"s3://{s3_bucket}/of/parley", endpoint=s3_endpoint)
        await objects.put("recordings/a/learner.flac", file)
        assert await objects.read("recordings/a/learner.flac", 250, 10) == bytes(
            [*range(250, 256), *range(4)]
        )
        with await asyncio.to_thread(objects.open, "recordings/a/learner.flac") as reader:
            await asyncio.to_thread(reader.seek, 256)
            assert await asyncio.to_thread(reader.read, 3) == b"\0\1\2"
        key = "of/parley/recordings/a/learner.flac"
        found = client(s3_endpoint).head_object(Bucket=s3_bucket, Key=key)
        assert found["ContentLength"] == file.stat().st_size

    async def test_a_large_file_goes_in_parts(
        self, s3_endpoint: str, s3_bucket: str, tmp_path: Path
    ) -> None:
        objects = Objects.at(f"s3://{s3_bucket}", endpoint=s3_endpoint)
        large = tmp_path / "large"
        large.write_bytes(os.urandom(1024) * 12 * 1024)
        await objects.put("a/large", large)
        found = client(s3_endpoint).head_object(Bucket=s3_bucket, Key="a/large")
        assert found["ContentLength"] == 12 * 2**20
        # The tag of what came in parts says in how many.
        assert int(found["ETag"].strip('"').rpartition("-")[2]) > 1

    async def test_deleting_takes_what_is_below_and_nothing_beside(
        self, s3_endpoint: str, s3_bucket: str, file: Path
    ) -> None:
        objects = Objects.at(f"s3://{s3_bucket}", endpoint=s3_endpoint)
        for key in ("recordings/a/1", "recordings/a/2", "recordings/ab/1"):
            await objects.put(key, file)
        for _ in range(2):
            await objects.delete_below("recordings/a/")
        with pytest.raises(FileNotFoundError):
            await objects.read("recordings/a/1", 0, 1)
        assert await objects.read("recordings/ab/1", 0, 1) == b"\0"

    async def test_a_link_reads_the_object_without_credentials(
        self, s3_endpoint: str, s3_bucket: str, file: Path
    ) -> None:
        objects = Objects.at(f"s3://{s3_bucket}", endpoint=s3_endpoint)
        await objects.put("recordings/a/mix.ogg", file)
        url = await objects.link("recordings/a/mix.ogg", timedelta(minutes=10))
        async with httpx.AsyncClient() as client:
            answer = await client.get(url)
        assert answer.content == file.read_bytes()
        assert "X-Amz-Expires=600" in url

    async def test_what_is_kept_is_encrypted_as_the_settings_say(
        self, s3_endpoint: str, s3_bucket: str, file: Path
    ) -> None:
        objects = Objects.at(f"s3://{s3_bucket}", endpoint=s3_endpoint, encryption="AES256")
        await objects.put("a/1", file)
        found = client(s3_endpoint).head_object(Bucket=s3_bucket, Key="a/1")
        assert found["ServerSideEncryption"] == "AES256"

    async def test_a_bucket_that_is_not_there_is_a_typed_failure(
        self, s3_endpoint: str, s3_bucket: str, file: Path
    ) -> None:
        objects = Objects.at("s3://no-such-bucket", endpoint=s3_endpoint)
        with pytest.raises((Unavailable, FileNotFoundError)):
            await objects.put("a/1", file)

    async def test_a_store_that_is_away_is_a_typed_failure_soon(
        self, s3_bucket: str, file: Path
    ) -> None:
        objects = Objects.at(f"s3://{s3_bucket}", endpoint="http://127.0.0.1:1")
        async with asyncio.timeout(30):
            with pytest.raises(Unavailable, match="STORAGE_UNAVAILABLE"):
                await objects.put("a/1", file)
