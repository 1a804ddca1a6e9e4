"""Fetching one file over HTTP, so that a cut connection costs only what was not yet received.

The bytes go to a `.part` file that outlives the process; the next call asks for the rest with a
Range header (RFC 9110, section 14). Checking the hash is the caller's.
"""

import errno
import http
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from io import RawIOBase
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from parley_models.errors import DiskSpaceError, SourceError

TIMEOUT_S = 20.0
"""Longest silence of a server, on connecting or between bytes, before it counts as gone."""

ATTEMPTS = 4
"""Tries in a row that bring no new byte before the source is given up."""

BACKOFF_S = 1.0
"""Wait before the second try; doubles with each further one."""

_PIECE_BYTES = 256 * 1024
_HUB = "huggingface.co"


class Transport(Protocol):
    """Opens a request. `urllib.request.urlopen` by default; tests and proxies bring their own."""

    def __call__(self, request: urllib.request.Request, /, *, timeout: float) -> "Response":
        """The response, once its head has arrived. Raises as `urlopen` does."""


class Response(Protocol):
    """The part of an HTTP response that is used."""

    status: int
    headers: Mapping[str, str]

    def read(self, amount: int, /) -> bytes:
        """Up to `amount` bytes; empty at the end."""

    def close(self) -> None:
        """Ends the connection."""


def through_mirror(url: str, environ: Mapping[str, str]) -> str:
    """The address with the hub's host replaced by HF_ENDPOINT, where that is set.

    HF_ENDPOINT is the variable that the hub's own tools use for mirrors. The hash is the same,
    so a mirror need not be trusted.
    """
    endpoint = environ.get("HF_ENDPOINT")
    parts = urlsplit(url)
    if not endpoint or parts.hostname != _HUB:
        return url
    mirror = urlsplit(endpoint)
    path = mirror.path.rstrip("/") + parts.path
    return urlunsplit((mirror.scheme, mirror.netloc, path, parts.query, ""))


def download(
    url: str,
    part: Path,
    size_bytes: int,
    on_total: Callable[[int], None],
    *,
    transport: Transport = urllib.request.urlopen,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Fills `part` with the `size_bytes` bytes at `url`, going on from what it already holds.

    `on_total` is told how many bytes are there, from the first call on. Raises SourceError when
    the source cannot deliver (its `unreachable_host` is set where no contact was made) and
    DiskSpaceError when the disk is full; in both cases what arrived stays in `part`.
    """
    fruitless = 0
    while (have := _held(part, size_bytes)) < size_bytes:
        on_total(have)
        try:
            _receive(url, part, have, size_bytes, on_total, transport)
        except _TransientError as error:
            fruitless = fruitless + 1 if _held(part, size_bytes) <= have else 0
            if fruitless >= ATTEMPTS:
                raise SourceError(f"{error}, {ATTEMPTS} times in a row") from error
            sleep(BACKOFF_S * 2 ** max(fruitless - 1, 0))
    on_total(size_bytes)


class _TransientError(Exception):
    """Worth another try at the same address."""


def _held(part: Path, size_bytes: int) -> int:
    """Bytes in the part file; a file longer than the whole is no part of it and goes."""
    if not part.exists():
        return 0
    held = part.stat().st_size
    if held > size_bytes:
        part.unlink()
        return 0
    return held


def _receive(
    url: str,
    part: Path,
    have: int,
    size_bytes: int,
    on_total: Callable[[int], None],
    transport: Transport,
) -> None:
    response = _open(url, part, have, transport)
    try:
        # A server that ignores Range answers 200 and sends the whole: start again then.
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not _starts_at(response, have):
            raise SourceError("the server sent another range than was asked for")
        total = have if resumed else 0
        _check_length(response, size_bytes, size_bytes - total)
        # Unbuffered, so that a full disk is met at the write and not on closing.
        with part.open("ab" if resumed else "wb", buffering=0) as file:
            while True:
                try:
                    piece = response.read(_PIECE_BYTES)
                except (http.client.HTTPException, OSError) as error:
                    raise _TransientError(
                        f"the connection was cut ({type(error).__name__})"
                    ) from error
                if not piece:
                    break
                if total + len(piece) > size_bytes:
                    part.unlink()
                    raise SourceError(f"it is longer than the {size_bytes} bytes it should have")
                _write(file, piece, part, size_bytes - total)
                total += len(piece)
                on_total(total)
    finally:
        response.close()
    if total < size_bytes:
        raise _TransientError("the connection ended early")


def _open(url: str, part: Path, have: int, transport: Transport) -> Response:
    headers = {"User-Agent": "parley-models", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    host = urlsplit(url).hostname or url
    # The manifest lets only https through, and http to this machine.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        return transport(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            # 408 and 429: asked too slowly or too often. 5xx: the server's own trouble.
            if error.code in (408, 429) or error.code >= 500:
                raise _TransientError(f"HTTP {error.code} {error.reason}") from error
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                # The file there is shorter than what is here, so what is here is not its start.
                part.unlink(missing_ok=True)
            raise SourceError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise SourceError(f"{host} cannot be reached ({error.reason})", host) from error
    except (http.client.HTTPException, OSError) as error:
        raise _TransientError(f"no answer ({type(error).__name__})") from error


def _starts_at(response: Response, have: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _check_length(response: Response, size_bytes: int, left_bytes: int) -> None:
    """Refuses a file of another size before its bytes are fetched, where the server tells."""
    announced = response.headers.get("Content-Length")
    if announced is not None and announced != str(left_bytes):
        raise SourceError(f"its size is not the {size_bytes} bytes that the manifest says")


def _write(file: RawIOBase, piece: bytes, part: Path, left_bytes: int) -> None:
    """Writes all of `piece`. Raises DiskSpaceError where the disk is full."""
    view = memoryview(piece)
    try:
        while view:
            view = view[file.write(view) or 0 :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskSpaceError(part.parent, left_bytes, 0) from error
        raise
