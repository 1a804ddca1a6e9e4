"""The threads that prepare files, and those who wait for them."""

import asyncio
import threading

import pytest

from services.common.errors import ResourceExhausted
from services.media.workers import Workers


async def test_so_many_wait_and_one_more_is_told_when_to_come_again() -> None:
    go_on = threading.Event()
    async with Workers.open("prepare", 1, 2) as workers:
        taken = [asyncio.create_task(workers.run(go_on.wait, 20)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted) as caught:
            await workers.run(int)
        assert (caught.value.reason, caught.value.retry_after) == ("MEDIA_BUSY", 2.0)
        go_on.set()
        assert await asyncio.gather(*taken) == [True] * 3
