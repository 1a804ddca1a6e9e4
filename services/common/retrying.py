"""How long to wait before something is tried again, and waiting that can be cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.common.clock import Clock


def doubled(failures: int, first_s: float, most_s: float) -> float:
    """Return the seconds after so many failures in a row: doubled after each, up to the most."""
    # The exponent is capped so that a day of failures does not overflow a float.
    return min(first_s * 2.0 ** min(failures - 1, 20), most_s)


def jittered(seconds: float, jitter: Callable[[], float]) -> float:
    """Return half to all of it, so that those who failed together do not come back together.

    jitter: returns a random number from 0 to below 1.
    """
    return seconds * (0.5 + 0.5 * jitter())


async def until_woken(wake: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Wait for `seconds` or for `wake`, whichever comes first."""
    woken = asyncio.create_task(wake.wait())
    slept = asyncio.create_task(clock.sleep(seconds))
    try:
        await asyncio.wait({woken, slept}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        woken.cancel()
        slept.cancel()
        await asyncio.gather(woken, slept, return_exceptions=True)
