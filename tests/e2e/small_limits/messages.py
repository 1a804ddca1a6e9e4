"""Limits of a session's messages: how many, how much audio, what is kept for who comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from parley.conversation.v1 import conversation_pb2
from services.common.errors import ParleyError
from tests.e2e.caller import BOUND_S, Caller, RawTalk, StatusHiddenError
from tests.e2e.small_limits.table import small, tries, unrecorded
from tests.e2e.town import Parley, Small
from tests.e2e.web_talk import WAYS, PushTalk, WebTalk

AHEAD_MS = 400
HELD_BACK_S = 0.3
MESSAGES_A_SECOND, BURST_S = 2, 4
KEPT, KEPT_BYTES = 6, 200

MESSAGES = small(
    "messages",
    Small({"max_messages_per_second": MESSAGES_A_SECOND, "resume_buffer_messages": KEPT}),
)
AUDIO = small(
    "audio", Small({"max_audio_ahead_ms": AHEAD_MS, "audio_held_back_seconds": HELD_BACK_S})
)
FEW_BYTES = small(
    "few bytes", Small({}, constants={"services.conversation.responses:MAX_KEPT_BYTES": KEPT_BYTES})
)

OVER = (ParleyError, StatusHiddenError, EOFError)
"""How a talk shows that it is over; a status that a write overtook is told by the notice alone."""


async def pong(talk: RawTalk | WebTalk) -> bool:
    """Tell whether a pong comes, rather than the notice that ends the talk."""
    async with asyncio.timeout(BOUND_S):
        while not (response := await talk.read()).notice.fatal:
            if response.HasField("pong"):
                return True
    return False


async def last_notice(talk: RawTalk | WebTalk) -> str:
    """Return the reason of the notice that the talk ends with."""
    with suppress(*OVER):
        async with asyncio.timeout(BOUND_S):
            while not talk.notices:
                await talk.read()
    return talk.notices[-1].reason


async def send_many(talk: RawTalk | WebTalk, count: int, **message: Any) -> None:
    """Send as many messages at once as there are."""
    if isinstance(talk, PushTalk):
        batch = [
            conversation_pb2.ConverseRequest(seq=talk.number(), **message) for _ in range(count)
        ]
        await talk.push(*batch)
    else:
        for _ in range(count):
            await talk.send(**message)


@tries(MESSAGES, "max_messages_per_second", "message_burst_seconds")
async def so_many_messages_are_taken_and_one_more_is_not(parley: Parley, client: str) -> None:
    burst = MESSAGES_A_SECOND * BURST_S
    async with parley.caller() as one, unrecorded(one, client) as talk:
        before = time.monotonic()
        await send_many(talk, burst, ping={"nonce": 1})
        for _ in range(burst):
            await talk.until("pong")
        assert not talk.notices
        more = 0
        with suppress(*OVER):
            await talk.send(ping={"nonce": 2})
            while await pong(talk):
                more += 1
                await talk.send(ping={"nonce": 2})
        assert await last_notice(talk) == "MESSAGES_TOO_FAST"
        # What time gave back meanwhile was taken as well.
        assert more <= MESSAGES_A_SECOND * (time.monotonic() - before)


@tries(AUDIO, "max_audio_ahead_ms", "audio_held_back_seconds")
async def so_much_audio_is_taken_ahead_and_more_is_held_back(parley: Parley, client: str) -> None:
    """200 ms at a time: two are ahead, the third is waited for, the next would be too much."""
    pcm = bytes(2 * 48 * 200)
    async with parley.caller() as one, unrecorded(one, client) as talk:
        before = time.monotonic()
        await send_many(talk, AHEAD_MS // 200, audio={"pcm": pcm})
        await talk.send(ping={"nonce": 1})
        await talk.until("pong")
        assert not talk.notices
        sent_ms = AHEAD_MS
        with suppress(*OVER):
            taken = True
            while taken:
                sent_ms += 200
                await talk.send(audio={"pcm": pcm})
                await talk.send(ping={"nonce": 2})
                taken = await pong(talk)
                # What was taken is answered only when time has caught up.
                assert not taken or time.monotonic() - before >= (sent_ms - AHEAD_MS) / 1000
        assert await last_notice(talk) == "AUDIO_TOO_FAST"
        assert sent_ms > AHEAD_MS + 1000 * HELD_BACK_S


START = conversation_pb2.StartSession(engine="scripted", no_recording=True)


@asynccontextmanager
async def begun(
    one: Caller, client: str, start: conversation_pb2.StartSession = START
) -> AsyncIterator[tuple[RawTalk | WebTalk, conversation_pb2.SessionStarted]]:
    """Yield a talk that is cut at the end, not finished, with what it began with."""
    async with AsyncExitStack() as stack:
        talk: RawTalk | WebTalk
        if client == "native":
            talk = RawTalk(one)
            stack.callback(talk.call.cancel)
            yield talk, (await talk.open(start=start)).started
        else:
            talk = await stack.enter_async_context(
                WAYS["push" if client == "grpc-web" else client](one)
            )
            talk.number()
            await talk.open(start)
            yield talk, (await talk.until("started")).started


async def came_back(
    one: Caller, client: str, handle: str
) -> list[conversation_pb2.ConverseResponse]:
    """Resume as one who has nothing; return what is sent again."""
    seen: list[conversation_pb2.ConverseResponse] = []
    start = conversation_pb2.StartSession(resume_handle=handle)
    async with begun(one, client, start) as (talk, started):
        assert started.resumed
        await talk.send(ping={"nonce": 99})
        async with asyncio.timeout(BOUND_S):
            while (response := await talk.read()).pong.nonce != 99:
                seen.append(response)
    return seen


@tries(MESSAGES, "resume_buffer_messages")
async def so_many_messages_are_kept_and_one_more_is_the_oldest_gone(
    parley: Parley, client: str
) -> None:
    for more in (0, 1):
        async with parley.caller() as one:
            async with begun(one, client) as (talk, started):
                # `started` is the first that is kept.
                for _ in range(KEPT - 1 + more):
                    await talk.send(ping={"nonce": 1})
                    await talk.until("pong")
            again = await came_back(one, client, started.resume_handle)
            assert [each.seq for each in again] == list(range(1 + more, KEPT + 1 + more))


@tries(FEW_BYTES, "resume_buffer_bytes")
async def so_many_bytes_are_kept_and_what_is_older_is_gone(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        async with begun(one, client) as (talk, started):
            came = []
            for _ in range(20):
                await talk.send(ping={"nonce": 1})
                came.append(await talk.until("pong"))
        # As many of the last as fit, to the byte.
        kept: list[conversation_pb2.ConverseResponse] = []
        for each in reversed(came):
            if sum(one.ByteSize() for one in (*kept, each)) > KEPT_BYTES:
                break
            kept.insert(0, each)
        assert 0 < len(kept) < len(came)
        assert await came_back(one, client, started.resume_handle) == kept
