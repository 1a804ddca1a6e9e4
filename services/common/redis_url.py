"""What a setting says of where Redis is, judged before anything is started."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit


def check_redis_url(text: str) -> None:
    """Judge where a Redis-compatible server is said to be.

    Raises:
        ValueError: it is no such URL, or the client is not installed. No message holds a password.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ValueError("is not redis://user:password@host:port/0 (or rediss://)")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port is none") from None
    if find_spec("redis") is None:
        raise ValueError(
            "needs the package redis: `make engines`, or pip install 'parley-server[redis]'"
        )
