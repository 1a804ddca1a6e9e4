"""The built web client as the gateway serves it: every file, with its type and how long it keeps.

Envoy reads the files once, when it starts, and answers them itself: no file server of our own, and
what a page loads is always of one build.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

UNBUILT: Final = Path(__file__).parent / "unbuilt.html"
"""What stands at `/` while the web client has not been built."""

# Vite names what it puts there by its content: another content has another name.
_HASHED: Final = "/assets/"
_FOR_EVER: Final = "public, max-age=31536000, immutable"
# Asked for each time: the entry page names the files of its build, and a browser must find a newer
# service worker.
_ALWAYS_ASK: Final = "no-cache"

# Said here, for the system's own table of types differs from one machine to the next.
_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mp3": "audio/mpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}

_COMPRESSIBLE: Final = frozenset(
    {"application/json", "application/manifest+json", "application/wasm", "image/svg+xml"}
)

# Maps of the source are for developers, who have the source.
_LEFT_OUT: Final = frozenset({".map"})

MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
"""Largest file. Envoy holds each in memory for as long as it runs."""

APP_PATHS: Final = "/[A-Za-z0-9/_~-]*"
"""What the entry page answers, as a regular expression: paths that the web client reads itself.
Files and gRPC methods have a dot in theirs."""

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    # Everything from here and nothing from elsewhere: no inline script, no eval, no frame. `blob:`
    # is what recordings are played from; `data:` is small pictures that the build puts in.
    "content-security-policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob:",
            "connect-src 'self'",
            "worker-src 'self'",
            "manifest-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    ),
    "permissions-policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""What every page is sent with."""


class PageTooLargeError(Exception):
    """A file of the web client is larger than the gateway serves; the message names it."""


@dataclass(frozen=True, slots=True)
class Page:
    """One file that the gateway answers.

    path: of the URL, matched exactly; None for the entry page, which answers `APP_PATHS`.
    """

    path: str | None
    file: Path
    content_type: str
    cache_control: str

    @property
    def compressible(self) -> bool:
        """Whether compressing makes it smaller; pictures, sounds and fonts are small already."""
        return self.content_type.startswith("text/") or self.content_type in _COMPRESSIBLE


AUTHORITY_PATH: Final = "/parley-ca.crt"
"""Where a phone finds the certificate of the authority that it is to trust."""


def authority_page(certificate: Path) -> Page:
    """Return the page of an authority's certificate, of a type that a phone offers to install."""
    return Page(AUTHORITY_PATH, certificate.absolute(), "application/x-x509-ca-cert", _ALWAYS_ASK)


def pages(folder: Path) -> tuple[Page, ...]:
    """Return the pages of the web client that was built into `folder`, the entry page last.

    Without an `index.html` there it is one page, which says how to build it.

    Raises:
        PageTooLargeError: a file is larger than `MAX_PAGE_BYTES`.
    """
    index = folder / "index.html"
    if not index.is_file():
        return (_page(None, UNBUILT),)
    files = sorted(
        each
        for each in folder.rglob("*")
        # What begins with a dot is a tool's, not the page's.
        if each.is_file()
        and each != index
        and each.suffix not in _LEFT_OUT
        and not any(part.startswith(".") for part in each.relative_to(folder).parts)
    )
    named = ((f"/{quote(each.relative_to(folder).as_posix())}", each) for each in files)
    return (
        *(_page(path, each) for path, each in named),
        _page("/index.html", index),
        _page(None, index),
    )


def _page(path: str | None, file: Path) -> Page:
    size = file.stat().st_size
    if size > MAX_PAGE_BYTES:
        raise PageTooLargeError(
            f"{file} has {size:,} bytes; the gateway serves at most {MAX_PAGE_BYTES:,}."
        )
    guessed = _TYPES.get(file.suffix.lower()) or mimetypes.guess_type(file.name)[0]
    return Page(
        path=path,
        file=file.absolute(),
        content_type=guessed or "application/octet-stream",
        cache_control=_FOR_EVER if path and path.startswith(_HASHED) else _ALWAYS_ASK,
    )
