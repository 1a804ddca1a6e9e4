"""What a receiver will never take, told apart from what it cannot take now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from services.common.errors import ParleyError

T = TypeVar("T")

FOR_GOOD = frozenset(
    {
        "EVENT_CONFLICT",
        "EVENT_INVALID",
        "INVALID_REQUEST",
        "MALFORMED_MESSAGE",
        "MESSAGE_TOO_LARGE",
    }
)
"""Reasons that no second try changes: somebody has to look."""

# A page of them fits a terminal, and a column.
MOST_CHARACTERS = 400


class EventsRefusedError(Exception):
    """Events were refused for good. The others of the same call were stored.

    refusals: why, by the events' ids; reasons and fields, never what an event holds.
    """

    def __init__(self, refusals: dict[str, str]) -> None:
        super().__init__(f"{len(refusals)} events were refused")
        self.refusals = refusals


def for_good(error: Exception) -> str:
    """Return why `error` refuses for good; empty where a later try may succeed."""
    if not isinstance(error, ParleyError) or error.reason not in FOR_GOOD:
        return ""
    fields = "; ".join(f"{each.field}: {each.description}" for each in error.fields)
    return f"{error.reason}: {fields or error.message}"[:MOST_CHARACTERS]


async def send_each(
    items: Sequence[T], send: Callable[[Sequence[T]], Awaitable[None]]
) -> dict[int, str]:
    """Send `items` together; where that is refused for good, one by one.

    Returns why, by their places in `items`, those were refused that alone are at fault.

    Raises:
        Exception: what `send` fails with otherwise; some may have arrived.
    """
    try:
        await send(items)
    except ParleyError as error:
        why = for_good(error)
        if not why:
            raise
        if len(items) == 1:
            return {0: why}
    else:
        return {}
    refusals: dict[int, str] = {}
    for place, item in enumerate(items):
        for why in (await send_each([item], send)).values():
            refusals[place] = why
    return refusals
