"""Closing an asynchronous iterator that may or may not be a generator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def closable(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Give ``items`` an ``aclose`` that reaches through to its own, where it has one."""
    try:
        async for item in items:
            yield item
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
