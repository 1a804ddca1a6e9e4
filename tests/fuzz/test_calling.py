"""What counts as a failure of a WebSocket that is fuzzed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from parley.conversation.v1 import conversation_pb2
from tests.fuzz.calling import frames

Handler = Callable[[ServerConnection], Awaitable[None]]


async def end(handler: Handler, hangs_s: float = 20) -> str:
    """Return how frames to a server of this kind are said to have ended."""
    async with serve(handler, "127.0.0.1", 0, subprotocols=[Subprotocol("parley.v1")]) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        return await frames(f"ws://127.0.0.1:{port}", (), [b"one", b"two"], hangs_s)


async def test_a_session_that_says_nothing_any_more_hangs():
    async def handler(socket: ServerConnection) -> None:
        async for _ in socket:
            pass

    assert (await end(handler, hangs_s=0.2)).startswith("HUNG")


async def test_one_that_does_not_read_hangs():
    async def handler(socket: ServerConnection) -> None:
        await socket.wait_closed()

    assert (await end(handler, hangs_s=0.2)).startswith("HUNG")


async def test_one_that_answers_is_well():
    async def handler(socket: ServerConnection) -> None:
        async for frame in socket:
            assert isinstance(frame, bytes)
            if frame not in (b"one", b"two"):
                ping = conversation_pb2.ConverseRequest.FromString(frame).ping
                pong = conversation_pb2.Pong(nonce=ping.nonce)
                answer = conversation_pb2.ConverseResponse(pong=pong)
                await socket.send(answer.SerializeToString())

    assert await end(handler) == "OK"


@pytest.mark.parametrize(
    ("code", "said"), [(4003, "CLOSED 4003"), (4013, "INTERNAL: closed with 4013")]
)
async def test_one_that_closes_has_said_why(code: int, said: str):
    async def handler(socket: ServerConnection) -> None:
        await socket.close(code)

    assert await end(handler) == said
