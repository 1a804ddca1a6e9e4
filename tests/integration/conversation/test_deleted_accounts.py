"""A deleted account keeps no talk alive and leaves nothing behind."""

from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from sqlalchemy import text

from parley.conversation.v1 import conversation_pb2 as pb
from services.common.clock import SystemClock
from services.common.database import Database
from services.common.service_identity import ServiceSigner
from services.common.status import from_rpc_error
from tests.integration.conversation.conftest import OTHER_ID, USER_ID, World


async def erase(world: World, user_id: str = USER_ID, caller: str = "user") -> Any:
    folder = world.data_dir / "keys" / "services"
    signer = ServiceSigner.open(caller, folder, SystemClock())
    return await world.stub.EraseUser(
        pb.EraseUserRequest(user_id=user_id), metadata=(signer.metadata("conversation"),)
    )


async def rows(data_dir: Path, table: str) -> int:
    url = f"sqlite+aiosqlite:///{data_dir / 'db' / 'conversation.sqlite3'}"
    async with Database.open(url) as database, database.snapshot() as session:
        return int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


async def test_a_live_talk_ends_with_the_reason_and_its_rows_go(world: World):
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    assert await rows(world.data_dir, "turns") == 1
    answer = await erase(world)
    assert (answer.erased, answer.remaining) == (1, 0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    assert from_rpc_error(caught.value).reason == "USER_NOT_FOUND"
    for table in ("conversations", "turns", "kept_turns", "learner_pace"):
        assert await rows(world.data_dir, table) == 0


async def test_the_talk_of_another_goes_on(world: World):
    talk = world.talk()
    await talk.start()
    answer = await erase(world, OTHER_ID)
    assert (answer.erased, answer.remaining) == (0, 0)
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    talk.call.cancel()


@pytest.mark.parametrize("caller", ["history", "media", "ai"])
async def test_no_other_service_may_ask_for_it(world: World, caller: str):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await erase(world, caller=caller)
    assert from_rpc_error(caught.value).reason == "SERVICE_IDENTITY_REQUIRED"
