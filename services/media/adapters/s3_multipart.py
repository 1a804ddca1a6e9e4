"""S3's multipart uploads, part by part: what obstore does only in one go.

An upload is begun, given parts in any order over any time, also by another process, and completed;
until then nothing of it can be read. What is never completed costs room until it is abandoned.
"""

from __future__ import annotations

import asyncio
import os
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import structlog

from services.common.clock import Clock, SystemClock
from services.common.errors import Unavailable
from services.media.adapters.s3_signature import (
    Credentials,
    encoded_path,
    encoded_query,
    signed,
)
from services.media.ports import StoreRefusedError, Unfinished, UploadGoneError

_log = structlog.get_logger(__name__)

_BODY_SECONDS = 20.0
"""Of every single read and write of a socket where something is sent, at least. A service that
stops waits for the one under way."""

SMALL_SECONDS = 10.0
"""The same where nothing is sent: a store that says nothing is away."""

_AT_ONCE = 8
"""Calls to the store that wait for it. Full policy: further ones wait for those."""

PART_BYTES = 5 * 1024 * 1024
"""The least that S3 takes for every part but the last. All have the same: some stores want that."""

_BYTES = "application/octet-stream"

_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is.

    url: of its root, with the bucket's name in the host or the path.
    prefix: what every key in it begins with; empty, or ending in a slash.
    encryption: the headers that tell the server how to encrypt what it keeps.
    """

    url: str
    prefix: str
    region: str
    encryption: Mapping[str, str]


def region_of(environment: Mapping[str, str]) -> str:
    """Return the region that Amazon's variables name."""
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"


class S3Multipart:
    """The multipart uploads of a bucket. Keys are without the bucket's prefix.

    Every method raises `Unavailable` (STORAGE_UNAVAILABLE) when the store does not answer, and a
    `StoreRefusedError` where it refuses.
    """

    part_bytes = PART_BYTES

    def __init__(
        self,
        bucket: Bucket,
        credentials: Credentials,
        clock: Clock | None = None,
        small_seconds: float = SMALL_SECONDS,
    ) -> None:
        self.bucket = bucket
        self._credentials = credentials
        self._clock = clock or SystemClock()
        self._small_seconds = small_seconds
        self._places = asyncio.Semaphore(_AT_ONCE)

    @classmethod
    def of_environment(
        cls, bucket: Bucket, small_seconds: float = SMALL_SECONDS
    ) -> S3Multipart | None:
        """Return the uploads of `bucket`; None where no variables hold the credentials.

        Those that a machine's role gives change by the hour, and only obstore knows them.
        """
        credentials = Credentials.of(os.environ)
        if credentials is None:
            return None
        return cls(bucket, credentials, small_seconds=small_seconds)

    async def begin(self, key: str) -> str:
        """Begin an upload of an object; return its id."""
        answer = await self._ask("POST", key, {"uploads": ""}, headers=self.bucket.encryption)
        return _text(answer.body, "UploadId")

    async def add(
        self, key: str, upload_id: str, number: int, data: bytes, *, last: bool = False
    ) -> str:
        """Give an upload its part `number`, from 1 on; return the tag that completing it takes.

        A part that was there is replaced. Every one but the last has 5 MiB at least.

        Raises:
            UploadGoneError: there is no such upload any more.
        """
        query = {"partNumber": str(number), "uploadId": upload_id}
        answer = await self._ask("PUT", key, query, data)
        return answer.tag

    async def complete(self, key: str, upload_id: str, tags: Mapping[int, str]) -> None:
        """Make the object of an upload's parts. It replaces one that was there.

        Raises:
            UploadGoneError: there is no such upload any more, or not with these parts.
        """
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tags[number]}</ETag></Part>"
            for number in sorted(tags)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = await self._ask("POST", key, {"uploadId": upload_id}, body)
        # This call alone may fail after it has said that it succeeds.
        if b"<Error>" in answer.body:
            raise UploadGoneError(_text(answer.body, "Code"))

    async def abandon(self, key: str, upload_id: str) -> None:
        """Throw an upload away with its parts; one that is gone is fine."""
        try:
            await self._ask("DELETE", key, {"uploadId": upload_id})
        except UploadGoneError:
            return

    async def unfinished(self, prefix: str) -> Sequence[Unfinished]:
        """Return the uploads whose keys begin with `prefix`, oldest keys first."""
        found: list[Unfinished] = []
        query = {"uploads": "", "prefix": f"{self.bucket.prefix}{prefix}"}
        while True:
            try:
                answer = await self._ask("GET", "", query, of_bucket=True)
            except UploadGoneError:
                # So rclone says that a bucket has none at all.
                return []
            try:
                root = ET.fromstring(answer.body)  # noqa: S314 - the host's own store
                found += [self._unfinished(upload) for upload in root.iterfind("{*}Upload")]
            except (ET.ParseError, ValueError) as error:
                raise _unavailable() from error
            if root.findtext("{*}IsTruncated") != "true":
                # Not every server keeps to the prefix.
                return [each for each in found if each.key.startswith(prefix)]
            query |= {
                "key-marker": root.findtext("{*}NextKeyMarker", ""),
                "upload-id-marker": root.findtext("{*}NextUploadIdMarker", ""),
            }

    def _unfinished(self, upload: ET.Element) -> Unfinished:
        return Unfinished(
            upload.findtext("{*}Key", "").removeprefix(self.bucket.prefix),
            upload.findtext("{*}UploadId", ""),
            datetime.fromisoformat(upload.findtext("{*}Initiated", "")).astimezone(UTC),
        )

    async def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        of_bucket: bool = False,
    ) -> _Answer:
        place = urlsplit(self.bucket.url)
        path = place.path.rstrip("/")
        path += "/" if of_bucket and not path else ""
        if not of_bucket:
            path += f"/{self.bucket.prefix}{key}"
        sent = signed(
            self._credentials,
            self.bucket.region,
            self._clock.now(),
            method,
            path,
            query,
            {"host": place.netloc, "content-type": _BYTES, **(headers or {})},
            body,
        )
        target = f"{place.scheme}://{place.netloc}{encoded_path(path)}?{encoded_query(query)}"
        request = urllib.request.Request(  # noqa: S310 - settings take http and https alone
            target, body or None, sent, method=method
        )
        seconds = max(self._small_seconds, _BODY_SECONDS) if body else self._small_seconds
        try:
            answer = await self._exchanged(request, seconds)
        except (OSError, ValueError, HTTPException) as error:
            raise _unavailable() from error
        if answer.status == HTTPStatus.NOT_FOUND and b"NoSuchUpload" in answer.body:
            raise UploadGoneError("NoSuchUpload")
        if b"<Code>InvalidPart" in answer.body:
            raise UploadGoneError("InvalidPart")
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            code = _text(answer.body, "Code")
            _log.warning("store_refused", method=method, status=answer.status, code=code)
            raise StoreRefusedError() if answer.status in _REFUSED else _unavailable()
        return answer

    async def _exchanged(self, request: urllib.request.Request, seconds: float) -> _Answer:
        async with self._places:
            # A thread of its own: where the store says nothing, what writes recordings to the disk
            # must not wait for one of the loop's.
            thread = ThreadPoolExecutor(1, "s3")
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(thread, _exchange, request, seconds)
            finally:
                thread.shutdown(wait=False)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    tag: str
    body: bytes


class _AsItComes(urllib.request.HTTPErrorProcessor):
    """Takes every answer for one: none is raised, and none followed to another place."""

    def http_response(
        self, request: urllib.request.Request, response: HTTPResponse
    ) -> HTTPResponse:
        return response

    https_response = http_response


def _exchange(request: urllib.request.Request, seconds: float) -> _Answer:
    # Goes by the proxy that the environment names, as obstore does.
    opener = urllib.request.build_opener(_AsItComes)
    with opener.open(request, timeout=seconds) as response:
        return _Answer(response.status, response.headers.get("ETag", ""), response.read())


def _text(body: bytes, name: str) -> str:
    """Return what the first element of a name says; empty where there is none."""
    try:
        root = ET.fromstring(body)  # noqa: S314 - the host's own store
    except ET.ParseError:
        return ""
    return next((each.text or "" for each in root.iter() if each.tag.endswith(name)), "")


def _unavailable() -> Unavailable:
    return Unavailable(
        "The store of recordings does not answer.", reason="STORAGE_UNAVAILABLE", retry_after=5.0
    )
