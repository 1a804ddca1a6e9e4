"""What runs as long as its service tells of what it fails with, and goes on."""

import asyncio

import pytest
import structlog

from services.common.errors import Unavailable
from services.common.going_on import going_on


@pytest.mark.parametrize(
    ("error", "level", "reason"),
    [
        (Unavailable("It is away.", reason="PEER_UNAVAILABLE"), "warning", "PEER_UNAVAILABLE"),
        (ValueError("what somebody said"), "error", "ValueError"),
    ],
    ids=["foreseen", "unforeseen"],
)
def test_a_failure_is_told_and_ends_nothing(error: Exception, level: str, reason: str):
    with structlog.testing.capture_logs() as logs, going_on("sweep_failed"):
        raise error
    (line,) = logs
    assert (line["event"], line["log_level"], line["reason"]) == ("sweep_failed", level, reason)
    # The trace is rendered without the message, which may hold anything.
    assert line.get("exc_info") is (error if level == "error" else None)
    assert "what somebody said" not in str({**line, "exc_info": None})


async def test_a_cancellation_passes():
    async def hang() -> None:
        while True:
            with going_on("sweep_failed"):
                await asyncio.sleep(3600)

    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
