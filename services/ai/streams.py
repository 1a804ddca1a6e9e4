"""Asynchronous iterators of providers: closing them, and not waiting for them for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from services.ai.capabilities import ProviderTimeoutError

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


async def timely(
    items: AsyncGenerator[T, None], *, first_s: float, next_s: float, who: str
) -> AsyncGenerator[T, None]:
    """Yield ``items`` unless the first takes longer than ``first_s``, or another than ``next_s``.

    Closes ``items`` in any case. Raises ``ProviderTimeoutError``, which names ``who``.
    """
    limit, late = first_s, "begin"
    try:
        while True:
            # The limit ends before the yield: a consumer that takes its time is not the provider's.
            try:
                async with asyncio.timeout(limit):
                    item = await anext(items)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ProviderTimeoutError(f"{who} took too long to {late}") from None
            yield item
            limit, late = next_s, "go on"
    finally:
        await items.aclose()
