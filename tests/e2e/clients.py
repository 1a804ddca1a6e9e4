"""The three kinds of client, as tests of all of them use them: native, grpc-web and WebSocket.

async with talking(one, "websocket") as talk:
    await talk.send(text={"text": "Hello"})

grpc-web pushes the learner's side in batches, as the page does where requests cannot be streamed.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import httpx
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from parley.conversation.v1 import conversation_pb2
from services.common.codes import Code
from services.common.errors import ParleyError, error_for_code
from services.common.status import from_rpc_error, from_status
from tests.e2e import grpc_web
from tests.e2e.caller import BOUND_S, Caller, RawTalk
from tests.e2e.web_talk import WAYS, WebTalk


@contextlib.asynccontextmanager
async def opened(one: Caller, client: str, /, **start: Any) -> AsyncIterator[RawTalk | WebTalk]:
    """Yield a session; a refusal of its start raises a `ParleyError`."""
    if client == "native":
        raw = RawTalk(one)
        try:
            first = await raw.open(start=conversation_pb2.StartSession(**start))
            if not first.HasField("started"):
                await raw.until("started")
            yield raw
            await raw.send(finish={})
        finally:
            raw.call.cancel()
    else:
        async with WAYS["push" if client == "grpc-web" else client](one) as talk:
            talk.number()
            await talk.open(conversation_pb2.StartSession(**start))
            while not (first := await talk.read()).HasField("started"):
                if first.notice.fatal:
                    # What the WebSocket is closed with is the same, a second later.
                    raise talk.notices[-1]
            yield talk
            with contextlib.suppress(ParleyError, EOFError):
                await talk.send(finish={})
                await talk.until("ended")


def talking(
    one: Caller, client: str, /, **start: Any
) -> contextlib.AbstractAsyncContextManager[RawTalk | WebTalk]:
    """Return a session of 48 kHz, in which the longest audio message is no more than 200 ms."""
    form = {"encoding": 1, "sample_rate_hz": 48_000, "channels": 1}
    return opened(one, client, engine="scripted", input_format=form, **start)


async def met(
    talk: RawTalk | WebTalk, message: conversation_pb2.ConverseRequest
) -> ParleyError | None:
    """Send a message as it is; return its notice or its refusal."""
    try:
        if isinstance(talk, RawTalk):
            await talk.call.write(message)
        else:
            await talk.write(message)
        await talk.send(ping={"nonce": 8})
        await talk.until("pong")
    except ParleyError as error:
        if isinstance(talk, WebTalk):
            # Nothing of a refused batch was taken: its number is still to come.
            talk.seq = message.seq - 1
        return error
    return talk.notices[-1] if talk.notices else None


async def answer(
    one: Caller,
    client: str,
    method: MethodDescriptor,
    request: Message,
    *,
    deadline: float | None = BOUND_S,
) -> ParleyError | None:
    """Make a call of one message by native gRPC or by grpc-web; return its refusal."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    if client == "grpc-web":
        headers = dict(one.metadata)
        if deadline is not None:
            headers["grpc-timeout"] = f"{round(1000 * deadline)}m"
        # No certificates are looked at, and to load those there are takes longer than most calls.
        async with httpx.AsyncClient(
            base_url=f"http://{one.target}", timeout=2 * BOUND_S, verify=False
        ) as web:
            said = await grpc_web.call(web, path, request, headers)
        if said.details is not None:
            return from_status(said.details)
        # The transport refuses without details.
        if said.code == 0:
            return None
        return error_for_code(Code(said.code))(said.text, reason=Code(said.code).name)
    kind = "stream_" if method.client_streaming else "unary_"
    kind += "stream" if method.server_streaming else "unary"
    build: Any = getattr(one.channel, kind)(
        path, request_serializer=lambda message: message.SerializeToString()
    )
    try:
        call = build(metadata=one.metadata, timeout=deadline) if method.client_streaming else None
        if call is None:
            call = build(request, metadata=one.metadata, timeout=deadline)
        else:
            await call.write(request)
            await call.done_writing()
        if method.server_streaming:
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    return None
