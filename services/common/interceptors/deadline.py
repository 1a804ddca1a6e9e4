"""How long a call may take."""

from __future__ import annotations

import asyncio

from services.common.call_context import deadline_var
from services.common.limits import Limits


def allowed_seconds(remaining: float | None, unary: bool, limits: Limits) -> float:
    """Return how long the call may take: what the caller asked, within our limits.

    Streams without a deadline get the longest: a conversation ends by its own limits before.
    """
    if not unary:
        most = limits.max_stream_seconds
        return most if remaining is None else min(remaining, most)
    if remaining is None:
        return limits.default_deadline_seconds
    return min(remaining, limits.max_deadline_seconds)


def set_deadline(seconds: float | None) -> None:
    """Make what is left of `seconds` known to everything below."""
    if seconds is not None:
        deadline_var.set(asyncio.get_running_loop().time() + seconds)
