"""The object store: local folders and their durability, links where there are any."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from obstore.store import S3Store

from services.common.errors import FailedPrecondition, Unavailable
from services.media.adapters.objects import Objects
from services.media.adapters.s3_multipart import S3Multipart
from services.media.ports import StoreRefusedError, UploadGoneError
from tests import s3
from tests.fault.line import line
from tests.ports import free_ports
from tests.s3 import client
from tests.s3_front import front


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


async def test_a_range_behind_the_end_is_empty_and_one_that_cannot_be_a_typed_failure(
    tmp_path: Path, file: Path
) -> None:
    objects = Objects.at(tmp_path.as_uri())
    await objects.put("a/1", file)
    for offset in (2_560, 10**9):
        assert await objects.read("a/1", offset, 10) == b""
    for offset, length in ((0, 0), (0, -1), (-1, 5), (0, 2**70)):
        with pytest.raises(Unavailable, match="STORAGE_UNAVAILABLE"):
            await objects.read("a/1", offset, length)


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

    async def test_a_large_file_is_stored_whole(
        self, s3_endpoint: str, s3_bucket: str, tmp_path: Path
    ) -> None:
        objects = Objects.at(f"s3://{s3_bucket}", endpoint=s3_endpoint)
        large = tmp_path / "large"
        large.write_bytes(os.urandom(1024) * 12 * 1024)
        await objects.put("a/large", large)
        found = client(s3_endpoint).get_object(Bucket=s3_bucket, Key="a/large")
        assert found["Body"].read() == large.read_bytes()

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

    async def test_one_that_says_nothing_any_more_is_a_typed_failure_soon(
        self, s3_endpoint: str, s3_bucket: str, file: Path
    ) -> None:
        """A half-open line, or a server that hangs: connections are there, and nothing comes."""
        port = urlsplit(s3_endpoint).port
        assert port is not None
        async with line(port) as (cable, behind):
            endpoint = f"http://127.0.0.1:{behind}"
            objects = Objects.at(f"s3://{s3_bucket}", endpoint=endpoint, small_seconds=0.5)
            await objects.put("a/1", file)
            cable.vanish()

            async def opened() -> None:
                await asyncio.to_thread(lambda: objects.open("a/1").read(1))

            async def listed() -> None:
                assert [each async for each in objects.below("a/")]

            tried = await asyncio.gather(
                objects.read("a/1", 0, 10),
                objects.size("a/1"),
                objects.get("a/1"),
                objects.put("a/2", file),
                objects.put("a/3", b"x"),
                opened(),
                listed(),
                return_exceptions=True,
            )
            assert [type(each) for each in tried] == [Unavailable] * 7
            cable.mend()
            assert await objects.read("a/1", 0, 2) == b"\0\1"

    async def test_where_uploads_may_not_be_listed_objects_are_deleted_all_the_same(
        self, s3_endpoint: str, s3_bucket: str, file: Path
    ) -> None:
        port, behind = free_ports(1)[0], urlsplit(s3_endpoint).port
        assert behind is not None
        with front(port, behind, refused="GET .*[?&]uploads="):
            objects = Objects.at(f"s3://{s3_bucket}", endpoint=f"http://127.0.0.1:{port}")
            assert objects.parts is not None
            with pytest.raises(StoreRefusedError):
                await objects.parts.unfinished("recordings/")
            await objects.put("recordings/a/1", file)
            await objects.delete_below("recordings/a/")
            assert [each async for each in objects.below("recordings/")] == []

    async def test_a_refusal_is_told_apart_from_silence(
        self, s3_endpoint: str, s3_bucket: str, file: Path
    ) -> None:
        port, behind = free_ports(1)[0], urlsplit(s3_endpoint).port
        assert behind is not None
        with front(port, behind, refused="PUT"):
            objects = Objects.at(f"s3://{s3_bucket}", endpoint=f"http://127.0.0.1:{port}")
            with pytest.raises(StoreRefusedError, match="refuses access"):
                await objects.put("recordings/a/1", file)


class TestEncryptedByTheServer:
    """What the store is asked for, on one that tells how it encrypts."""

    @pytest.fixture
    def bucket(self, encrypting_s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
        for variable, value in s3.CREDENTIALS.items():
            monkeypatch.setenv(variable, value)
        name = f"parley-{uuid4().hex}"
        s3.client(encrypting_s3_endpoint).create_bucket(Bucket=name)
        return name

    @pytest.mark.parametrize(("encryption", "key"), [("AES256", ""), ("aws:kms", "a-key")])
    async def test_whole_and_in_parts_it_is_as_the_settings_say(
        self, encrypting_s3_endpoint: str, bucket: str, file: Path, encryption: str, key: str
    ) -> None:
        objects = Objects.at(
            f"s3://{bucket}", endpoint=encrypting_s3_endpoint, encryption=encryption, key=key
        )
        await objects.put("a/whole", file)
        parts = objects.parts
        assert parts is not None
        upload = await parts.begin("a/parts")
        tag = await parts.add("a/parts", upload, 1, file.read_bytes())
        await parts.complete("a/parts", upload, {1: tag})
        for name in ("a/whole", "a/parts"):
            found = s3.client(encrypting_s3_endpoint).head_object(Bucket=bucket, Key=name)
            assert found["ServerSideEncryption"] == encryption
            assert found.get("SSEKMSKeyId", "").endswith(key)


class TestBucketInHost:
    """As OSS wants it, on a real server that takes nothing else and checks every signature."""

    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.S3Server]:
        for variable, value in s3.CREDENTIALS.items():
            monkeypatch.setenv(variable, value)
        with s3.S3Server.start(in_host=True) as server:
            (server.folder / "bucket").mkdir()
            # No name server knows the host: it is asked for by way of a proxy.
            monkeypatch.setenv("http_proxy", server.url)
            yield server

    async def test_all_that_a_store_does_it_does_there(
        self, server: s3.S3Server, file: Path
    ) -> None:
        objects = Objects.at(
            "s3://bucket/of/parley", endpoint="http://oss.example", bucket_in_host=True
        )
        await objects.put("recordings/a/whole", file)
        assert await objects.read("recordings/a/whole", 1, 2) == b"\1\2"
        parts = objects.parts
        assert parts is not None
        upload = await parts.begin("recordings/a/parts")
        assert [each.key for each in await parts.unfinished("recordings/")] == [
            "recordings/a/parts"
        ]
        tag = await parts.add("recordings/a/parts", upload, 1, b"part", last=True)
        await parts.complete("recordings/a/parts", upload, {1: tag})
        assert (server.folder / "bucket/of/parley/recordings/a/parts").read_bytes() == b"part"
        url = await objects.link("recordings/a/parts", timedelta(minutes=1))
        assert url.startswith("http://bucket.oss.example/of/parley/recordings/a/parts?")
        async with httpx.AsyncClient() as browser:
            assert (await browser.get(url)).content == b"part"
            assert (await browser.get(url.replace("a/parts", "a/whole"))).status_code == 403
        await objects.delete_below("recordings/a/")
        assert [each async for each in objects.below("recordings/")] == []


class TestParts:
    """Uploads in parts, on a real server that speaks S3."""

    @pytest.fixture
    def parts(self, s3_endpoint: str, s3_bucket: str) -> S3Multipart:
        objects = Objects.at(f"s3://{s3_bucket}/of/par ley", endpoint=s3_endpoint)
        assert objects.parts is not None
        return objects.parts

    @pytest.fixture
    def by_prefix(self, s3_endpoint: str, s3_bucket: str) -> None:
        if not s3.lists_by_prefix(s3_endpoint, s3_bucket):
            pytest.skip("the server that was named tells uploads of single objects alone")

    async def test_they_come_in_any_order_and_again(
        self, parts: S3Multipart, s3_endpoint: str, s3_bucket: str
    ) -> None:
        data = os.urandom(1024) * 12 * 1024
        cut = [data[at : at + parts.part_bytes] for at in range(0, len(data), parts.part_bytes)]
        upload = await parts.begin("a/b ü+c")
        tags: dict[int, str] = {}
        for number in (2, 3, 2, 1):
            sent = cut[number - 1] if tags.get(2) or number != 2 else bytes(parts.part_bytes)
            tags[number] = await parts.add("a/b ü+c", upload, number, sent)
        await parts.complete("a/b ü+c", upload, tags)
        found = client(s3_endpoint).get_object(Bucket=s3_bucket, Key="of/par ley/a/b ü+c")
        assert found["Body"].read() == data

    async def test_unfinished_ones_are_found_and_thrown_away(
        self, parts: S3Multipart, by_prefix: None
    ) -> None:
        before = datetime.now(UTC) - timedelta(seconds=5)
        ids = {await parts.begin(f"a/{name}") for name in ("1", "2")}
        beside = await parts.begin("ab/1")
        found = await parts.unfinished("a/")
        assert {each.upload_id for each in found} == ids
        assert {each.key for each in found} == {"a/1", "a/2"}
        assert all(before < each.begun_at < datetime.now(UTC) for each in found)
        for each in (*found, *found):
            await parts.abandon(each.key, each.upload_id)
        assert await parts.unfinished("a/") == []
        assert [each.upload_id for each in await parts.unfinished("ab/")] == [beside]

    async def test_a_silent_store_holds_up_nothing_but_what_asks_it(
        self, s3_endpoint: str, s3_bucket: str
    ) -> None:
        """A line that is half open: the threads that write recordings must not wait for it."""
        port = urlsplit(s3_endpoint).port
        assert port is not None
        async with line(port) as (cable, behind):
            objects = Objects.at(
                f"s3://{s3_bucket}", endpoint=f"http://127.0.0.1:{behind}", small_seconds=2.0
            )
            parts = objects.parts
            assert parts is not None
            upload = await parts.begin("a/1")
            cable.vanish()
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(2, "asyncio_"))
            waiting = [asyncio.create_task(parts.abandon("a/1", upload)) for _ in range(10)]
            await asyncio.sleep(0.1)
            await asyncio.to_thread(lambda: None)
            assert not any(each.done() for each in waiting)
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(each) for each in ended} == {Unavailable}
            cable.mend()
            await parts.abandon("a/1", upload)

    async def test_an_upload_that_is_gone_is_told_apart(self, parts: S3Multipart) -> None:
        upload = await parts.begin("a/1")
        await parts.abandon("a/1", upload)
        with pytest.raises(UploadGoneError):
            await parts.add("a/1", upload, 1, b"x")
        with pytest.raises(UploadGoneError):
            await parts.complete("a/1", upload, {1: "tag"})

    async def test_deleting_what_is_below_throws_its_uploads_away(
        self, s3_endpoint: str, s3_bucket: str, by_prefix: None
    ) -> None:
        objects = Objects.at(f"s3://{s3_bucket}", endpoint=s3_endpoint)
        assert objects.parts is not None
        for key in ("recordings/a/1", "recordings/ab/1"):
            await objects.parts.begin(key)
        await objects.delete_below("recordings/a/")
        assert [each.key for each in await objects.parts.unfinished("recordings/")] == [
            "recordings/ab/1"
        ]

    async def test_wrong_credentials_and_a_store_that_is_away_are_typed_failures(
        self, s3_endpoint: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        for endpoint in (s3_endpoint, "http://127.0.0.1:1"):
            parts = Objects.at(f"s3://{s3_bucket}", endpoint=endpoint).parts
            assert parts is not None
            with pytest.raises(Unavailable, match="STORAGE_UNAVAILABLE"):
                await parts.begin("a/1")


async def test_without_credentials_in_the_environment_there_are_no_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of a machine's role change by the hour, and only obstore knows them."""
    for variable in s3.CREDENTIALS:
        monkeypatch.delenv(variable, raising=False)
    assert Objects.at("s3://bucket").parts is None
    assert Objects.at(tmp_path.as_uri()).parts is None


async def test_a_bucket_is_in_the_path_or_in_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(variable, value)
    for endpoint, in_host, root in (
        ("https://oss.example", True, "https://bucket.oss.example/of/a"),
        ("https://minio.example:9000", False, "https://minio.example:9000/bucket/of/a"),
        ("", False, "https://s3.us-east-1.amazonaws.com/bucket/of/a"),
        ("", True, "https://bucket.s3.us-east-1.amazonaws.com/of/a"),
    ):
        objects = Objects.at("s3://bucket/of", endpoint=endpoint, bucket_in_host=in_host)
        link = await objects.link("a", timedelta(minutes=1))
        assert link.partition("?")[0] == root
        assert objects.parts is not None
        assert f"{objects.parts.bucket.url}/{objects.parts.bucket.prefix}a" == root
