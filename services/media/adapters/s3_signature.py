"""Signature Version 4, as S3 wants it: what makes a request this installation's own.

After Amazon's description, "Authenticating Requests: Using the Authorization Header"; its examples
are in the tests. obstore signs all that it sends itself: this is for what it has no call for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. `token` is of credentials that end, and empty for others."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Credentials | None:
        """Return those that Amazon's variables name; None where they name none."""
        key_id = environment.get("AWS_ACCESS_KEY_ID", "")
        secret = environment.get("AWS_SECRET_ACCESS_KEY", "")
        if not key_id or not secret:
            return None
        return cls(key_id, secret, environment.get("AWS_SESSION_TOKEN", ""))


def encoded_path(path: str) -> str:
    """Return a path as it stands in a request, and in what is signed."""
    return quote(path, safe="/-_.~")


def encoded_query(query: Mapping[str, str]) -> str:
    """Return a query as it stands in a request, and in what is signed: in order of its names."""
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items()
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


def signed(
    credentials: Credentials,
    region: str,
    now: datetime,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes = b"",
) -> dict[str, str]:
    """Return `headers`, which hold the host, with those that prove who sends them and the body.

    path: not encoded, with a slash in front.
    now: the time of day in UTC; servers take what is a quarter of an hour off at most.
    """
    digest = hashlib.sha256(body).hexdigest()
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    sent = {
        **{name.lower(): value.strip() for name, value in headers.items()},
        "x-amz-content-sha256": digest,
        "x-amz-date": stamp,
    }
    if credentials.token:
        sent["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(sent))
    lines = "".join(f"{name}:{sent[name]}\n" for name in sorted(sent))
    request = "\n".join((method, encoded_path(path), encoded_query(query), lines, names, digest))
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret}".encode()
    for step in scope.split("/"):
        key = _mac(key, step)
    sent["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key_id}/{scope}, SignedHeaders={names}, "
        f"Signature={_mac(key, text).hex()}"
    )
    return sent


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
