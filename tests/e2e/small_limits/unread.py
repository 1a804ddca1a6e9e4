"""Limits of what waits for a client that has stopped reading, by the way that each has of that.

Between a session and who does not read lie buffers of the service, the gateway and the machine,
other ones for each kind of client. Sound is said until they are full and almost as much waits in
the session as may; then comes one pong a message.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

import grpc.aio

from parley.conversation.v1 import conversation_pb2
from services.common.status import from_rpc_error
from services.conversation import responses
from services.conversation.responses import Response, Responses
from tests.e2e.caller import BOUND_S, RawTalk
from tests.e2e.small_limits.messages import begun, came_back
from tests.e2e.small_limits.table import ends_with, small, tries
from tests.e2e.town import Parley, Small
from tests.e2e.web_talk import WebTalk

PIECE = 256 * 1024

WAITING, FEW = 40, 10
WAITING_BYTES, FEW_BYTES = 10_000_000, 1_000


class Watched(Responses):
    """The responses of the newest session, and what waited when it was found to be too much."""

    last: ClassVar[Watched]

    def __init__(self, max_kept: int, *, last_seq: int = 0) -> None:
        super().__init__(max_kept, last_seq=last_seq)
        self.cut_at: tuple[int, int] | None = None
        self.newest_bytes = self.cut_pong_bytes = 0
        self.came = asyncio.Event()
        Watched.last = self

    def put(self, response: Response) -> None:
        self.newest_bytes = response.ByteSize()
        super().put(response)
        self.came.set()

    def shelve(self) -> None:
        self.cut_at, self.cut_pong_bytes = (
            (len(self._waiting), self._waiting_bytes),
            self.newest_bytes,
        )
        super().shelve()

    def fill(self) -> None:
        """Say as much as may wait, but for a few."""
        while (
            len(self._waiting) < responses.MAX_WAITING - FEW
            and (room := responses.MAX_WAITING_BYTES - self._waiting_bytes) > FEW_BYTES
        ):
            sound = conversation_pb2.ReplyAudio(pcm=bytes(min(PIECE, room - FEW_BYTES // 2)))
            self.put(conversation_pb2.ConverseResponse(reply_audio=sound))


_WATCHED = {
    "services.conversation.live:Responses": Watched,
    # So long one that reads again may take for what it has let lie.
    "services.conversation.transport:_LAST_WRITE_S": BOUND_S,
}
MANY = small(
    "unread",
    Small(
        {"max_messages_per_second": 10_000},
        constants={
            **_WATCHED,
            "services.conversation.responses:MAX_WAITING": WAITING,
            "services.conversation.responses:MAX_WAITING_BYTES": 100 * WAITING_BYTES,
        },
    ),
)
MUCH = small(
    "unread bytes",
    Small(
        {"max_messages_per_second": 10_000},
        constants={
            **_WATCHED,
            "services.conversation.responses:MAX_WAITING": 1_000_000,
            "services.conversation.responses:MAX_WAITING_BYTES": WAITING_BYTES,
        },
    ),
)


async def reads_on(talk: RawTalk | WebTalk) -> str:
    """Read to the end and say nothing to it; return the reason that it ended with."""
    if isinstance(talk, WebTalk):
        talk.listens = False
        return await ends_with(talk)
    try:
        async with asyncio.timeout(BOUND_S):
            while await talk.call.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return ""


async def pings_until_cut(talk: RawTalk | WebTalk, said: Watched) -> int:
    """Ask for a pong at a time until the session has cut the client off; return how many."""
    pings = 0
    async with asyncio.timeout(BOUND_S):
        while said.cut_at is None:
            # What the buffers have taken is said again, but for a few pongs.
            said.fill()
            pings += 1
            said.came.clear()
            await talk.send(ping={"nonce": pings})
            await said.came.wait()
    return pings


async def is_cut_off_and_comes_back(parley: Parley, client: str) -> Watched:
    """Stop reading until one is cut off, be told so, come back; return what was seen inside."""
    async with parley.caller() as one:
        async with begun(one, client) as (talk, started):
            said = Watched.last
            pings = await pings_until_cut(talk, said)
            assert await reads_on(talk) == "CLIENT_TOO_SLOW"
        again = await came_back(one, client, started.resume_handle)
        pongs = [each.pong.nonce for each in again if each.HasField("pong")]
        # Sound is let go first: nothing else is missing.
        assert pongs == list(range(1, pings + 1))
    return said


@tries(MANY, "waiting_responses")
async def so_many_responses_wait_and_one_more_cuts_the_client_off(
    parley: Parley, client: str
) -> None:
    said = await is_cut_off_and_comes_back(parley, client)
    assert said.cut_at is not None
    assert said.cut_at[0] == WAITING + 1


@tries(MUCH, "waiting_response_bytes")
async def so_many_bytes_wait_and_more_cut_the_client_off(parley: Parley, client: str) -> None:
    said = await is_cut_off_and_comes_back(parley, client)
    assert said.cut_at is not None
    assert said.cut_at[1] - said.cut_pong_bytes <= WAITING_BYTES < said.cut_at[1]
