"""The refresh token of a web page: a cookie that its own scripts cannot read.

A page that could read the token could lose it to any script that gets into it. So a caller whose
metadata says `x-parley-client: web` is given the token as a cookie (RFC 6265bis) and never in a
message: HttpOnly, for scripts; SameSite=Strict and the header, which no other site can send without
being asked first, against forged requests; Path, so that no other service ever sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime

CLIENT_KEY = "x-parley-client"
WEB = "web"
SET_COOKIE_KEY = "set-cookie"

_COOKIE_KEY = "cookie"
_NAME = "parley_refresh"
_PATH = "/parley.user.v1.UserService/"
# The gateway says how the page was reached, whatever the page says.
_SCHEME_KEY = "x-forwarded-proto"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Metadata = Iterable[tuple[str, str | bytes]]


def is_web(metadata: Metadata) -> bool:
    """Tell whether the caller keeps its refresh token in a cookie."""
    return dict(metadata).get(CLIENT_KEY) == WEB


def token_in(metadata: Metadata) -> str:
    """Return the refresh token in the caller's cookie; empty when there is none."""
    # HTTP/2 may send each cookie in a header of its own. Read by hand: the library's reader gives
    # up at the first cookie, of whomever, that it finds malformed.
    headers = (value for key, value in metadata if key == _COOKIE_KEY and isinstance(value, str))
    for cookie in (part.strip() for header in headers for part in header.split(";")):
        name, _, value = cookie.partition("=")
        if name == _NAME:
            return value
    return ""


def without_tls(metadata: Metadata) -> bool:
    """Tell whether the gateway itself says that it was called without TLS."""
    return dict(metadata).get(_SCHEME_KEY) == "http"


def keeping(token: str, expires_at: datetime, *, secure: bool) -> str:
    """Return the `set-cookie` value that gives a caller `token`."""
    parts = (
        f"{_NAME}={token}",
        f"Path={_PATH}",
        f"Expires={format_datetime(expires_at.astimezone(UTC), usegmt=True)}",
        "HttpOnly",
        "SameSite=Strict",
        *(("Secure",) if secure else ()),
    )
    return "; ".join(parts)


def clearing(*, secure: bool) -> str:
    """Return the `set-cookie` value that takes the token away."""
    return keeping("", _LONG_AGO, secure=secure)
