"""The object store, by obstore: a local folder, S3 and its like, Google's, Azure's."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, from_url

from services.common.durable import sync_path
from services.common.errors import FailedPrecondition, Unavailable
from services.media.adapters.s3_multipart import SMALL_SECONDS, Bucket, S3Multipart, region_of
from services.media.ports import Stored, StoreRefusedError

_log = structlog.get_logger(__name__)

# What fails is tried again by whoever asked, with what is known by then: a store that is away must
# be noticed within seconds, and a large file over a slow line must still pass.
_CONNECT_SECONDS = 5.0
_LARGE_SECONDS = 120.0

_SMALL_BYTES = 1024 * 1024
"""A request that carries no more has `SMALL_SECONDS`: they pass at a megabit a second."""


Version = tuple[str | None, datetime, int]
"""What an object is known by: one that is put in its place has another."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A range of an object's bytes, and which object that was; None: the range is behind its end.

    Of two that were read of one version, both are of the same object.
    """

    data: bytes = field(repr=False)
    version: Version | None


class Objects:
    """Where originals are kept. Keys are relative paths with slashes.

    Every method raises `Unavailable` (STORAGE_UNAVAILABLE) when the store does not answer, and a
    `StoreRefusedError` where it refuses.
    """

    def __init__(
        self, store: Any, multipart: S3Multipart | None = None, for_large: Any = None
    ) -> None:
        """Keep objects in an obstore store.

        for_large: the same, with the time that it takes to store a large file.
        """
        self._store = store
        self._for_large = for_large or store
        self._multipart = multipart

    @classmethod
    def at(
        cls,
        url: str,
        *,
        endpoint: str = "",
        bucket_in_host: bool = False,
        encryption: str = "",
        key: str = "",
        small_seconds: float = SMALL_SECONDS,
    ) -> Objects:
        """Open the store at `url`; a local folder is created.

        endpoint: where a store that speaks S3 is, if it is not Amazon's own.
        bucket_in_host: whether the endpoint's host name takes the bucket's in front, as OSS wants.
        encryption, key: how S3 encrypts what it keeps, `AES256` or `aws:kms`, and with which key of
            the latter; as the bucket says where it is empty.
        small_seconds: after so long without an answer it is away, but where a large file is stored.

        Raises:
            ValueError: when the URL names no kind of store that is known.
        """
        parts = urlsplit(url)
        if parts.scheme == "file":
            return cls(LocalStore(unquote(parts.path), mkdir=True, automatic_cleanup=True))
        region = region_of(os.environ)
        root = endpoint or f"https://s3.{region}.amazonaws.com"
        if bucket_in_host:
            scheme, _, host = root.partition("://")
            endpoint = root = f"{scheme}://{parts.netloc}.{host}"
        given = {
            "endpoint": endpoint,
            "virtual_hosted_style_request": "true" if bucket_in_host else "",
            "server_side_encryption": encryption,
            "sse_kms_key_id": key,
        }
        config: Any = {name: value for name, value in given.items() if value}

        def opened(seconds: float) -> Any:
            client: Any = {
                "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, seconds)),
                "timeout": timedelta(seconds=seconds),
                "allow_http": endpoint.startswith("http://"),
            }
            # What took all its time is not tried again here: it would be waited for three times.
            retries: Any = {
                "max_retries": 2,
                "retry_timeout": timedelta(seconds=min(small_seconds / 2, 15)),
            }
            return from_url(url, config=config, client_options=client, retry_config=retries)

        try:
            store, for_large = opened(small_seconds), opened(_LARGE_SECONDS)
        except BaseError as error:
            raise ValueError(f"not the URL of an object store: {error}") from error
        if parts.scheme != "s3":
            return cls(store, for_large=for_large)
        prefix = parts.path.strip("/")
        bucket = Bucket(
            url=root if bucket_in_host else f"{root.rstrip('/')}/{parts.netloc}",
            prefix=f"{prefix}/" if prefix else "",
            region=region,
            encryption=_encryption_headers(encryption, key),
        )
        return cls(store, S3Multipart.of_environment(bucket, small_seconds), for_large)

    @property
    def parts(self) -> S3Multipart | None:
        """Uploads in parts; None where the store has none."""
        return self._multipart

    async def put(self, key: str, source: Path | bytes | Iterable[bytes]) -> None:
        """Store a file, or these bytes. Returning means that a power cut does not lose it."""
        with _typed_failures():
            store = self._store if _is_small(source) else self._for_large
            await obstore.put_async(store, key, source)
        if isinstance(self._store, LocalStore):
            _sync_upwards(Path(str(self._store.prefix)) / key, Path(str(self._store.prefix)))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return a range of an object's bytes; fewer than asked for only where it ends."""
        try:
            with _typed_failures():
                found = await obstore.get_range_async(self._store, key, start=offset, length=length)
        except Unavailable as error:
            if not await self._begins_behind_end(error, key, offset):
                raise
            return b""
        return bytes(found)

    async def read_version(self, key: str, offset: int, length: int) -> Versioned:
        """Return a range of an object's bytes as `read` does, and which object they are of.

        It is one request.
        """
        try:
            with _typed_failures():
                wanted: Any = {"range": (offset, offset + length)}
                found = await obstore.get_async(self._store, key, options=wanted)
                data = bytes(await found.bytes_async())
        except Unavailable as error:
            if not await self._begins_behind_end(error, key, offset):
                raise
            return Versioned(b"", None)
        about = found.meta
        return Versioned(data, (about["e_tag"], about["last_modified"], about["size"]))

    async def _begins_behind_end(self, error: Unavailable, key: str, offset: int) -> bool:
        """Whether that is why a range was not got: it is no failure of the store's."""
        return _says_range(error.__cause__) and offset >= await self.size(key)

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading and seeking. Blocks, as reading from it does."""
        with _typed_failures():
            reader = obstore.open_reader(self._store, key, buffer_size=_SMALL_BYTES)
            return io.BufferedReader(_Reader(reader))

    async def get(self, key: str) -> bytes | None:
        """Return all of a small object; None where there is none."""
        try:
            with _typed_failures():
                found = await obstore.get_async(self._store, key)
                return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None

    def get_now(self, key: str) -> bytes | None:
        """Return all of a small object; None where there is none. Blocks."""
        try:
            with _typed_failures():
                return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None

    def size_now(self, key: str) -> int:
        """Return how many bytes an object has. Blocks.

        Raises:
            FileNotFoundError: there is none.
        """
        with _typed_failures():
            return int(obstore.head(self._store, key)["size"])

    def read_now(self, key: str, offset: int, length: int) -> bytes:
        """Return a range of an object's bytes, as `read`. Blocks."""
        try:
            with _typed_failures():
                return bytes(obstore.get_range(self._store, key, start=offset, length=length))
        except Unavailable as error:
            if not _says_range(error.__cause__) or offset < self.size_now(key):
                raise
            return b""

    async def size(self, key: str) -> int:
        """Return how many bytes an object has.

        Raises:
            FileNotFoundError: there is none.
        """
        with _typed_failures():
            return int((await obstore.head_async(self._store, key))["size"])

    async def below(self, prefix: str) -> AsyncIterator[Stored]:
        """Yield every object whose key begins with `prefix` (which ends in a slash)."""
        try:
            with _typed_failures():
                async for batch in obstore.list(self._store, prefix):
                    for entry in batch:
                        yield Stored(entry["path"], entry["last_modified"])
        except FileNotFoundError as error:
            # Not an empty store but none: the bucket is not there.
            raise _unavailable() from error

    def ask_now(self, prefix: str) -> None:
        """Ask the store for objects whose keys begin with `prefix`, and take the answer. Blocks.

        For who ends right afterwards: a process that does while an `async` answer is being handed
        over is aborted by obstore's threads.
        """
        try:
            with _typed_failures():
                next(iter(obstore.list(self._store, prefix)), None)
        except FileNotFoundError as error:
            raise _unavailable() from error

    async def delete_below(self, prefix: str) -> None:
        """Delete every object whose key begins with `prefix` (which ends in a slash).

        Uploads that were begun there are thrown away, where the store lets Parley ask for them.
        """
        with _typed_failures():
            async for batch in obstore.list(self._store, prefix):
                for entry in batch:
                    try:
                        await obstore.delete_async(self._store, entry["path"])
                    except FileNotFoundError:
                        continue
        if self._multipart is None:
            return
        try:
            uploads = await self._multipart.unfinished(prefix)
        except StoreRefusedError:
            # Those that Parley began it has noted, and thrown away by that.
            _log.warning("uploads_not_listed", prefix=prefix)
            return
        for upload in uploads:
            await self._multipart.abandon(upload.key, upload.upload_id)

    async def link(self, key: str, lifetime: timedelta) -> str:
        """Return a URL that reads an object without credentials for a while.

        Raises:
            FailedPrecondition: LINKS_NOT_SUPPORTED, when this kind of store has none.
        """
        self.require_links()
        with _typed_failures():
            return str(await obstore.sign_async(self._store, "GET", key, lifetime))

    def require_links(self) -> None:
        """Refuse when this kind of store has no links.

        Raises:
            FailedPrecondition: LINKS_NOT_SUPPORTED.
        """
        if type(self._store).__name__ not in ("S3Store", "GCSStore", "AzureStore"):
            raise FailedPrecondition(
                "Recordings are in a local folder, which has no links: use DownloadRecording.",
                reason="LINKS_NOT_SUPPORTED",
            )


class _Reader(io.RawIOBase):
    """The store's reader as an ordinary file, which gives bytes and can be left with `with`."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _typed_failures():
            data = bytes(self._reader.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


@contextmanager
def _typed_failures() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StoreRefusedError from error
    except (BaseError, OSError, ValueError, OverflowError) as error:
        # obstore refuses a range that cannot be with the last two.
        raise _unavailable() from error


def _is_small(source: Path | bytes | Iterable[bytes]) -> bool:
    if isinstance(source, Path):
        return source.stat().st_size <= _SMALL_BYTES
    return isinstance(source, bytes) and len(source) <= _SMALL_BYTES


def _says_range(error: BaseException | None) -> bool:
    """Tell whether a store refused a range; obstore has no type for that."""
    return any(word in str(error) for word in ("InvalidRange", "416"))


def _unavailable() -> Unavailable:
    return Unavailable(
        "The store of recordings does not answer.", reason="STORAGE_UNAVAILABLE", retry_after=5.0
    )


def _encryption_headers(encryption: str, key: str) -> dict[str, str]:
    """Return how S3 is told to encrypt; obstore says the same by its own settings."""
    name = "x-amz-server-side-encryption"
    headers = {name: encryption, f"{name}-aws-kms-key-id": key}
    return {each: value for each, value in headers.items() if value}


def _sync_upwards(path: Path, root: Path) -> None:
    """Force a new file and the names that lead to it to disk; the store itself does not."""
    while True:
        sync_path(path)
        if path == root:
            return
        path = path.parent
