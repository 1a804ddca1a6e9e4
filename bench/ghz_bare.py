"""The server that Parley is measured beside: grpc.aio with the generated classes, and no more.

    python -m bench.ghz_bare FOLDER        prints "ready PORT" when it serves

It answers what Parley answered: FOLDER holds Parley's responses as serialized messages. There is
no token to verify, no rule to check, no metric to count and no database; the server's options are
grpc's defaults. Whatever Parley does more costs it against this one.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc

# The files of FOLDER; the last holds the responses of one Converse call (`pack`).
JWKS = "jwks.bin"
PROFILE = "profile.bin"
CONVERSE = "converse.bin"

_LENGTH_BYTES = 4


class BareUserServicer(user_pb2_grpc.UserServiceServicer):
    """Two unary methods of `UserService` that return a constant."""

    def __init__(
        self, jwks: user_pb2.GetJwksResponse, profile: user_pb2.GetProfileResponse
    ) -> None:
        self._jwks = jwks
        self._profile = profile

    async def GetJwks(  # noqa: N802 - the contract names it
        self, request: user_pb2.GetJwksRequest, context: Any
    ) -> user_pb2.GetJwksResponse:
        """Return the keys."""
        return self._jwks

    async def GetProfile(  # noqa: N802 - the same
        self, request: user_pb2.GetProfileRequest, context: Any
    ) -> user_pb2.GetProfileResponse:
        """Return the account, whoever asks."""
        return self._profile


class BareConversationServicer(conversation_pb2_grpc.ConversationServiceServicer):
    """`Converse` as it was recorded: the same messages at the same points."""

    def __init__(self, responses: Sequence[conversation_pb2.ConverseResponse]) -> None:
        self._opening = responses[:1]
        self._turn = responses[1:-1]
        self._ending = responses[-1:]

    async def Converse(self, _requests: object, context: Any) -> None:  # noqa: N802 - the same
        """Answer `start` with the first message, text with a turn, `finish` with the last."""
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.HasField("start"):
                answer = self._opening
            elif request.HasField("text"):
                answer = self._turn
            else:
                answer = self._ending
            for response in answer:
                await context.write(response)


def pack(messages: Sequence[conversation_pb2.ConverseResponse]) -> bytes:
    """Return the messages as bytes that `unpack` reads."""
    parts = (each.SerializeToString() for each in messages)
    return b"".join(len(each).to_bytes(_LENGTH_BYTES, "big") + each for each in parts)


def unpack(data: bytes) -> list[conversation_pb2.ConverseResponse]:
    """Return the messages that `pack` was given."""
    messages = []
    while data:
        end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")
        messages.append(conversation_pb2.ConverseResponse.FromString(data[_LENGTH_BYTES:end]))
        data = data[end:]
    return messages


async def serve(folder: Path) -> None:
    """Serve on a free port of loopback until SIGTERM."""
    jwks = user_pb2.GetJwksResponse.FromString((folder / JWKS).read_bytes())
    profile = user_pb2.GetProfileResponse.FromString((folder / PROFILE).read_bytes())
    conversation = unpack((folder / CONVERSE).read_bytes())
    server = grpc.aio.server()
    # Methods that are not there answer UNIMPLEMENTED, as a generated servicer does.
    user = BareUserServicer(jwks, profile)  # type: ignore[abstract]
    talk = BareConversationServicer(conversation)  # type: ignore[abstract]
    user_pb2_grpc.add_UserServiceServicer_to_server(user, server)
    conversation_pb2_grpc.add_ConversationServiceServicer_to_server(talk, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"ready {port}", flush=True)
    await stop.wait()
    await server.stop(grace=1)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
