"""What runs as long as its service does: it tells of what it fails with, and goes on.

    while True:
        with going_on("housekeeping_failed"):
            await self.once()
        await clock.sleep(…)

A background task that ends takes its service down (`services.common.lifecycle`): for what was
foreseen by nobody too, which the next try may not meet, learners would lose their conversations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from services.common.errors import ParleyError

_log = structlog.get_logger(__name__)


def log_failure(event: str, error: Exception, **more: Any) -> None:
    """Log what a loop failed with: as a warning where it is a foreseen one, else with its trace."""
    if isinstance(error, ParleyError):
        _log.warning(event, reason=error.reason, problem=error.message, **more)
    else:
        _log.error(event, reason=type(error).__name__, exc_info=error, **more)


@contextmanager
def going_on(event: str) -> Iterator[None]:
    """Log what the block fails with as `event`, and let nothing out but a cancellation."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
        log_failure(event, error)
