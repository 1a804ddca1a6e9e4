"""Limits of who has gone, or says that nothing more comes: how long a session waits for whom."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc.aio

from parley.conversation.v1 import conversation_pb2
from services.common.errors import ParleyError
from tests.e2e.caller import BOUND_S, Caller, RawTalk
from tests.e2e.clients import answer
from tests.e2e.small_limits.messages import begun
from tests.e2e.small_limits.table import TALKS, small, tries
from tests.e2e.town import Parley, Small

AWAY_S = UNHEARD_S = CLOSING_S = 0.4

STATE = TALKS.methods_by_name["GetConversationState"]

AWAY = small(
    "away",
    Small(
        {},
        {"resume_seconds": AWAY_S},
        constants={"services.conversation.from_client:_CLOSING_S": CLOSING_S},
    ),
)
UNHEARD = small(
    "unheard", Small({}, constants={"services.conversation.session:UNHEARD_S": UNHEARD_S})
)


async def waits(one: Caller, client: str, *, heard_from: bool) -> float:
    """Be cut off and stay away; return for how long there was a session to come back to."""
    async with begun(one, client) as (talk, started):
        if heard_from:
            await talk.send(ping={"nonce": 1})
            await talk.until("pong")
        before = time.monotonic()
    state = conversation_pb2.GetConversationStateRequest(conversation_id=started.conversation_id)
    again = conversation_pb2.StartSession(resume_handle=started.resume_handle)
    waited: float | None = None
    async with asyncio.timeout(BOUND_S):
        while True:
            while (error := await answer(one, "native", STATE, state)) is None:
                await asyncio.sleep(0.02)
            assert error.reason == "NO_LIVE_SESSION"
            if waited is None:
                waited = time.monotonic() - before
            try:
                # Until its end is stored, who comes back goes on with it.
                async with begun(one, client, again):
                    pass
            except ParleyError as refused:
                if refused.reason != "RESUME_HANDLE_INVALID":
                    raise
                return waited


@tries(AWAY, "PARLEY_CONVERSATION_RESUME_SECONDS")
async def who_is_cut_off_may_come_back_for_so_long_and_no_longer(
    parley: Parley, client: str
) -> None:
    async with parley.caller() as one:
        assert await waits(one, client, heard_from=True) >= AWAY_S


@tries(UNHEARD, "unheard_seconds")
async def who_never_said_a_word_is_waited_for_so_long_and_no_longer(
    parley: Parley, client: str
) -> None:
    async with parley.caller() as one:
        assert await waits(one, client, heard_from=False) >= UNHEARD_S


@tries(AWAY, "closing_seconds", by=("native",))
async def who_has_closed_its_side_is_answered_for_so_long_and_no_longer(
    parley: Parley, _client: str
) -> None:
    """The answer is never heard, so it would go on."""
    async with parley.caller() as one:
        talk = RawTalk(one)
        await talk.start(no_recording=True)
        await talk.send(text={"text": "Hello"})
        before = time.monotonic()
        await talk.call.done_writing()
        kinds = set()
        async with asyncio.timeout(BOUND_S):
            response: Any
            while (response := await talk.call.read()) is not grpc.aio.EOF:
                kinds.add(response.WhichOneof("message"))
        assert kinds >= {"reply_audio", "ended"}
        assert time.monotonic() - before >= CLOSING_S
