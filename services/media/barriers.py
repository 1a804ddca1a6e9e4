"""What stands around the decoder of strangers' files here: told once, when the service starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from services.media.metrics import MediaMetrics

_log = structlog.get_logger(__name__)


async def tell_barriers(
    every: Sequence[str], find_lacking: Callable[[], Sequence[str]], metrics: MediaMetrics
) -> None:
    """Log and count which barriers this system has; `find_lacking` blocks."""
    try:
        lacking = await asyncio.to_thread(find_lacking)
    except OSError as error:
        _log.warning("upload_barriers_unknown", problem=type(error).__name__)
        return
    metrics.barriers(every, lacking)
    standing = [each for each in every if each not in lacking]
    if lacking:
        _log.warning("upload_barriers_lacking", lacking=list(lacking), standing=standing)
    else:
        _log.info("upload_barriers_stand", standing=standing)
