"""PostgreSQL, Redis or S3 is away for a while: talks go on, and everything arrives afterwards.

`make test` keeps each away for seconds, `make test-fault` for as long as docs/operations.md says.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from launcher.supervision import ask, statuses_now
from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from services.common.redis.connection import answered, connected
from services.common.redis.sign_ins import SINCE
from tests.e2e.caller import Caller, RawTalk, caller
from tests.e2e.steady_learner import SteadyLearner
from tests.fault.keeping import is_admitted, played_ms, recording_of
from tests.fault.world import FLUSH, World
from tests.postgres import set_read_only

LONG = int(os.environ.get("FAULTS", "0")) >= 50
DATABASE_AWAY_S = 30.0 if LONG else 4.0
STORE_AWAY_S = 60.0 if LONG else 4.0
# What docs/operations.md promises.
SAVED_WITHIN_S = 10.0
REVOKED_WITHIN_S = 5.0
# A peer that is back is tried again every 2 s at most.
REACHED_WITHIN_S = 15.0
_BETWEEN_TURNS_S = 1.0
# Both voices as they came, 32 and 48 kB a second, and once more as FLAC, which is smaller.
SPOOLED_BYTES_PER_S = 2 * 80_000

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.leaves_behind("a running Parley that the tests share, and what it restarted"),
]


async def history_has(one: Caller, talk: RawTalk, within_s: float = 30.0) -> None:
    """Wait until history has exactly the turns that were acknowledged, by number and id."""
    deadline = time.monotonic() + within_s
    found: list[tuple[int, str]] = []
    while found != talk.saved:
        assert time.monotonic() < deadline, (found, talk.saved)
        await asyncio.sleep(0.2)
        try:
            records = await one.turns(talk.conversation_id)
        except Exception:  # noqa: BLE001 - not there yet, or its database is not
            continue
        found = [(each.turn.number, each.turn.turn_id) for each in records]


async def say(talk: RawTalk, text: str) -> None:
    """Type something, and wait for the end of its answer: the last one's may come only now."""
    await talk.send(text={"text": text})
    started = await talk.until("reply_started")
    while (await talk.until("reply_ended")).generation != started.generation:
        pass


async def test_while_postgresql_is_away_talks_go_on_unsaved_and_are_saved_when_it_is_back(
    whole: World,
) -> None:
    await talk_goes_on_unsaved(whole, whole.postgres.kill, whole.postgres.up)


async def test_while_postgresql_takes_no_changes_talks_go_on_unsaved_and_are_saved_when_it_does(
    whole: World,
) -> None:
    """A managed server whose disk is full, the standby of a failover."""
    before = statuses_now(whole.stack.folder)

    def goes() -> None:
        set_read_only(whole.database, "on")
        # One that starts meanwhile runs as well.
        whole.break_one("history")

    def comes_back() -> None:
        running = statuses_now(whole.stack.folder)
        for name in ("user", "conversation", "media"):
            assert running[name].pid == before[name].pid, f"{name} has ended"
        set_read_only(whole.database, "off")

    await talk_goes_on_unsaved(whole, goes, comes_back, readable=True)


async def talk_goes_on_unsaved(
    whole: World,
    goes: Callable[[], None],
    comes_back: Callable[[], None],
    *,
    readable: bool = False,
) -> None:
    async with caller(whole.stack.address) as one:
        talk = RawTalk(one)
        await talk.start()
        await say(talk, "Before")
        while not talk.saved:
            await talk.until("turn_saved")
        await history_has(one, talk)
        await asyncio.to_thread(goes)
        gone_at, said = time.monotonic(), 1
        if readable:
            await history_has(one, talk)
        while said < 3 or time.monotonic() - gone_at < DATABASE_AWAY_S:
            await say(talk, "While it is away")
            said += 1
            # Scripted answers take no time: a hundred turns would be more than a talk may keep.
            await asyncio.sleep(_BETWEEN_TURNS_S)
        assert len(talk.saved) == 1
        told = [each.reason for each in talk.notices]
        assert told.count("STORAGE_UNAVAILABLE") == 1
        # Media keeps its list of recordings in PostgreSQL as well.
        assert set(told) <= {"STORAGE_UNAVAILABLE", "RECORDING_UNAVAILABLE"}
        await asyncio.to_thread(comes_back)
        back_at = time.monotonic()
        while len(talk.saved) < said:
            await talk.until("turn_saved")
        assert time.monotonic() - back_at < SAVED_WITHIN_S
        assert [number for number, _ in talk.saved] == list(range(1, said + 1))
        await history_has(one, talk)
        await talk.send(finish={})
        ended = await talk.until("ended")
        assert (ended.ended.summary.turns, ended.ended.summary.turns_saved) == (said, said)


async def test_while_redis_is_away_or_emptied_turns_are_saved_and_reach_history(
    whole: World,
) -> None:
    async with caller(whole.stack.address) as one:
        talk = RawTalk(one)
        await talk.start()
        for what in ("before", "emptied", "away", "back"):
            if what == "emptied":
                await asyncio.to_thread(whole.break_one, FLUSH)
            elif what == "away":
                await asyncio.to_thread(whole.redis.kill)
            elif what == "back":
                await asyncio.to_thread(whole.redis.up)
            await talk.send(text={"text": what})
            await talk.until("turn_saved")
            await history_has(one, talk)
        await talk.send(finish={})
        await talk.until("ended")
        assert talk.notices == []


async def test_while_the_store_is_away_recordings_wait_on_the_disk_and_arrive(
    whole: World,
) -> None:
    spool = whole.stack.folder.root / "media" / "spool"
    others = files_in(spool)
    async with ParleyClient(parse_endpoint(whole.stack.address)) as client:
        await client.register(f"ana-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
        async with (
            client.converse(conversation_pb2.StartSession(engine="scripted")) as stream,
            asyncio.TaskGroup() as group,
        ):
            learner = SteadyLearner(stream)
            learner.start(group)
            await learner.one_turn()
            whole.store.down()
            gone_at = time.monotonic()
            await learner.one_turn()
            await learner.finish()
        conversation_id = stream.started.conversation_id
        await asyncio.sleep(max(0.0, STORE_AWAY_S - (time.monotonic() - gone_at)))
        waiting = sum(each.stat().st_size for each in files_in(spool) - others)
        assert waiting > 0
        whole.store.mend()
        recording = await recording_of(client, conversation_id)
        assert waiting <= SPOOLED_BYTES_PER_S * (recording.duration_ms / 1000 + 1)
        assert abs(await played_ms(client, recording.recording_id) - recording.duration_ms) < 100
    deadline = time.monotonic() + 15
    while files_in(spool) - others:
        assert time.monotonic() < deadline, "it is stored, and still lies on the disk"
        await asyncio.sleep(0.2)


def files_in(folder: Path) -> set[Path]:
    return {each for each in folder.rglob("*") if each.is_file()}


async def answers(client: ParleyClient, token: str) -> dict[str, grpc.StatusCode]:
    """Return what two services say to a token that need no database to answer."""
    metadata = (("authorization", f"Bearer {token}"),)
    found = {}
    for name, method, request in (
        ("ai", client.ai.ListVoices, ai_pb2.ListVoicesRequest()),
        ("talks", client.conversation.ListScenarios, conversation_pb2.ListScenariosRequest()),
    ):
        call = method(request, metadata=metadata, timeout=15)
        found[name] = await call.code()
    return found


@asynccontextmanager
async def without_user_service(whole: World) -> AsyncIterator[None]:
    """Keep the user service away for the block; nothing starts it again by itself."""
    await asyncio.to_thread(ask, whole.stack.folder, "stopProcess", "user")
    try:
        yield
    finally:
        # Without waiting until it has run for a while, which is all that supervisord calls started.
        await asyncio.to_thread(ask, whole.stack.folder, "startProcess", "user", False)
        await asyncio.to_thread(whole.stack.wait_until_healthy, "user")


async def is_refused(client: ParleyClient, token: str) -> bool:
    """Tell whether all services refuse a token, once they have reached the user service again."""
    deadline = time.monotonic() + REACHED_WITHIN_S
    while True:
        try:
            return not await is_admitted(client, token)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def test_a_revoked_token_stays_revoked_when_redis_is_emptied_or_away(whole: World) -> None:
    """The cache is only a copy of what the user service knows."""
    async with ParleyClient(parse_endpoint(whole.stack.address)) as client:
        await client.register(f"ana-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
        token = await client.access_token()
        await client.logout()
        signed_out_at = time.monotonic()
        metadata = (("authorization", f"Bearer {token}"),)
        # History alone sees the token, and notes in Redis that it is over.
        code = grpc.StatusCode.OK
        while code is not grpc.StatusCode.UNAUTHENTICATED:
            assert time.monotonic() - signed_out_at < REVOKED_WITHIN_S
            request = history_pb2.ListConversationsRequest()
            call = client.history.ListConversations(request, metadata=metadata, timeout=15)
            code = await call.code()
        async with without_user_service(whole):
            await asyncio.to_thread(whole.break_one, FLUSH)
            nobody_knows = dict.fromkeys(("ai", "talks"), grpc.StatusCode.UNAVAILABLE)
            assert await answers(client, token) == nobody_knows
            await asyncio.to_thread(whole.redis.kill)
            assert await answers(client, token) == nobody_knows
            await asyncio.to_thread(whole.redis.up)
            assert await answers(client, token) == nobody_knows
        assert await is_refused(client, token)
        await asyncio.to_thread(whole.break_one, FLUSH)
        assert await is_refused(client, token)
        # Those who sign in from now on are vouched for again.
        async with connected(whole.redis.url) as redis, asyncio.timeout(REVOKED_WITHIN_S):
            while not await answered(redis.exists(SINCE)):
                await asyncio.sleep(0.1)
        await asyncio.to_thread(whole.redis.kill)
        assert await is_refused(client, token)
