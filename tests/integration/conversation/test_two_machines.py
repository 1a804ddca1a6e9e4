"""Two machines: processes that share a database and a Redis, and no folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from services.common.redis.connection import connected
from services.common.redis.sign_ins import SINCE
from services.common.status import from_rpc_error
from tests import postgres
from tests.integration.conversation.conftest import Talk, World


@pytest.fixture
async def machines(
    tmp_path: Path, postgres_url: str, redis_url: str
) -> AsyncIterator[tuple[World, World]]:
    worlds = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        worlds.append(World(folder))
    here, there = worlds
    there.key = here.key
    # The shortest to wait for.
    here.ai.answer = there.ai.answer = "Yes"
    async with connected(redis_url) as redis:
        # The user service, which nobody runs here, would say so: no end of a sign-in is forgotten.
        await redis.set(SINCE, "0")
    with postgres.empty_database(postgres_url) as url:
        try:
            for each in worlds:
                await each.open_peers()
                await each.start(postgresql_url=url, redis_url=redis_url, drain_seconds=0.2)
            yield here, there
        finally:
            for each in worlds:
                await each.close()


async def resume(world: World, handle: str, last_seq: int) -> Talk:
    talk = world.talk()
    await talk.send(start={"resume_handle": handle, "last_seq": last_seq})
    return talk


async def test_a_session_is_held_by_one_and_goes_on_at_the_other_when_that_is_gone(
    machines: tuple[World, World],
) -> None:
    here, there = machines
    first = here.talk()
    started = await first.start()
    await first.send(text={"text": "Hello"})
    saved = await first.until("turn_saved")
    # Held there: whoever comes to the other is told so, and the talk goes on undisturbed.
    astray = await resume(there, started.resume_handle, first.seen[-1].seq)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await astray.to_end()
    refused = from_rpc_error(caught.value)
    assert (refused.reason, refused.retryable) == ("SESSION_ELSEWHERE", True)
    await first.send(text={"text": "Still there?"})
    second = await first.until("turn_saved")
    last_seq = first.seen[-1].seq
    # The machine goes, with its session.
    await here.stop()
    talk = await resume(there, started.resume_handle, last_seq)
    again = (await talk.until("started")).started
    assert again.resumed
    assert (again.conversation_id, again.next_turn) == (started.conversation_id, 3)
    await talk.send(text={"text": "And now?"})
    third = await talk.until("turn_saved")
    ids = [each.turn_saved.turn_id for each in (saved, second, third)]
    assert [each.turn_saved.number for each in (saved, second, third)] == [1, 2, 3]
    assert len(set(ids)) == 3
    talk.call.cancel()
