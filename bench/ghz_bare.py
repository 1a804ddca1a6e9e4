"""The server that Parley is measured beside: grpc.aio with the generated classes, and no more.

    python -m bench.ghz_bare FOLDER        prints "ready PORT" when it serves

It answers what Parley answered: FOLDER holds Parley's responses as serialized messages. There is
no token to verify, no rule to check, no metric to count and nothing to look up; the server's
options are grpc's defaults. Whatever Parley does more costs it against this one.

A method that changes something must keep it here too, or the two would not promise the same: it
commits one row to a SQLite file that is set as Parley's are, with plain `sqlite3` on one thread.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health

from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc

USER_METHODS = ("GetJwks", "GetProfile", "ListSessions", "UpdateProfile", "Refresh")
"""The unary methods; FOLDER has a response of each in `<method>.bin`."""

CONVERSE = "converse.bin"
"""The file of FOLDER with the responses of one Converse call (`pack`)."""

_LENGTH_BYTES = 4

Keep = Callable[[], Awaitable[None]]


class BareUserServicer(user_pb2_grpc.UserServiceServicer):
    """The unary methods, each returning a constant; those that change something `keep` first."""

    def __init__(self, answers: Mapping[str, Any], keep: Keep) -> None:
        self._answers = answers
        self._keep = keep

    async def GetJwks(self, request: object, context: Any) -> user_pb2.GetJwksResponse:  # noqa: N802 - the contract names it
        """Return the keys."""
        return self._answers["GetJwks"]  # type: ignore[no-any-return]

    async def GetProfile(self, request: object, context: Any) -> user_pb2.GetProfileResponse:  # noqa: N802 - the same
        """Return the account, whoever asks."""
        return self._answers["GetProfile"]  # type: ignore[no-any-return]

    async def ListSessions(self, request: object, context: Any) -> user_pb2.ListSessionsResponse:  # noqa: N802 - the same
        """Return the sessions."""
        return self._answers["ListSessions"]  # type: ignore[no-any-return]

    async def UpdateProfile(self, request: object, context: Any) -> user_pb2.UpdateProfileResponse:  # noqa: N802 - the same
        """Keep something; return the account."""
        await self._keep()
        return self._answers["UpdateProfile"]  # type: ignore[no-any-return]

    async def Refresh(self, request: object, context: Any) -> user_pb2.RefreshResponse:  # noqa: N802 - the same
        """Keep something; return the tokens."""
        await self._keep()
        return self._answers["Refresh"]  # type: ignore[no-any-return]


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


class OneRow:
    """A SQLite file with one number, counted up durably. One writer, as SQLite has."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # What services.common.database sets, for the same promise: a power cut loses nothing.
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE IF NOT EXISTS kept (count INTEGER)",
            "INSERT INTO kept VALUES (0)",
        ):
            self._database.execute(statement)

    async def keep(self) -> None:
        """Commit a change of the row."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._count)

    def _count(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute("UPDATE kept SET count = count + 1")
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the file and end the thread."""
        self._thread.shutdown()
        self._database.close()


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


def _answer(folder: Path, method: str) -> Message:
    kind: type[Message] = getattr(user_pb2, f"{method}Response")
    return kind.FromString((folder / f"{method}.bin").read_bytes())


async def serve(folder: Path) -> None:
    """Serve on a free port of loopback until SIGTERM."""
    conversation = unpack((folder / CONVERSE).read_bytes())
    row = OneRow(folder / "bare.sqlite3")
    server = grpc.aio.server()
    # Methods that are not there answer UNIMPLEMENTED, as a generated servicer does.
    answers = {method: _answer(folder, method) for method in USER_METHODS}
    user = BareUserServicer(answers, row.keep)  # type: ignore[abstract]
    talk = BareConversationServicer(conversation)  # type: ignore[abstract]
    user_pb2_grpc.add_UserServiceServicer_to_server(user, server)
    conversation_pb2_grpc.add_ConversationServiceServicer_to_server(talk, server)
    # For a gateway in front of it, which asks before it sends anything.
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"ready {port}", flush=True)
    await stop.wait()
    await server.stop(grace=1)
    row.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
