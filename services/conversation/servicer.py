"""`conversation.v1` over the live sessions: reads, calls, writes."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from parley.conversation.v1 import conversation_pb2
from services.common.access import USER, service
from services.common.call_context import Caller, caller
from services.common.errors import ParleyError
from services.common.timestamps import to_timestamp
from services.conversation import problems
from services.conversation.application import Conversations
from services.conversation.floor import State
from services.conversation.live import LiveSession
from services.conversation.transport import carry, carry_upload

ACCESS = {
    "Converse": USER,
    "Subscribe": USER,
    "Upload": USER,
    "Push": USER,
    "ListScenarios": USER,
    "GetConversationState": USER,
    "EraseUser": service("user"),
}

# A session that is live must be able to go on while the process drains.
WHILE_DRAINING = ("Upload", "Push", "GetConversationState")

_STATES = {
    State.LISTENING: conversation_pb2.SESSION_STATE_LISTENING,
    State.REPLYING: conversation_pb2.SESSION_STATE_REPLYING,
    State.PAUSED: conversation_pb2.SESSION_STATE_PAUSED,
    State.ENDED: conversation_pb2.SESSION_STATE_ENDED,
}

Context = Any
"""`grpc.aio.ServicerContext` of the method's own messages."""


class ConversationServicer:
    """The service. Each streaming method is a transport over one `LiveSession`."""

    def __init__(self, conversations: Conversations, start_timeout_s: float) -> None:
        self._conversations = conversations
        self._start_timeout_s = start_timeout_s

    async def Converse(self, _requests: object, context: Context) -> None:
        """Hold one session over one stream each way."""
        try:
            async with asyncio.timeout(self._start_timeout_s):
                first = await context.read()
        except TimeoutError:
            raise problems.start_required() from None
        if first is grpc.aio.EOF or not first.HasField("start"):
            raise problems.start_required()
        live, connection = await self._conversations.open(caller(), first.start, first.seq)

        async def write(response: conversation_pb2.ConverseResponse) -> None:
            await context.write(response)

        await carry(live, connection, write, _read(live, context))

    async def Subscribe(self, request: conversation_pb2.SubscribeRequest, context: Context) -> None:
        """Open or resume a session, and write what it says."""
        live, connection = await self._conversations.open(caller(), request.start, request.seq)
        live.intake.begin(request.seq, request.first_seq)

        async def write(response: conversation_pb2.ConverseResponse) -> None:
            await context.write(conversation_pb2.SubscribeResponse(response=response))

        await carry(live, connection, write, None)

    async def Upload(self, _requests: object, context: Context) -> conversation_pb2.UploadResponse:
        """Take the learner's side of a subscribed session as a stream."""
        try:
            async with asyncio.timeout(self._start_timeout_s):
                first = await context.read()
        except TimeoutError:
            raise problems.no_first_message() from None
        if first is grpc.aio.EOF:
            raise problems.no_first_message()
        live = self._conversations.find_held(caller(), first.conversation_id)
        await carry_upload(live, _read_upload(live, context, first.request))
        return conversation_pb2.UploadResponse(last_seq=live.intake.last_seq)

    async def Push(
        self, request: conversation_pb2.PushRequest, _context: Context
    ) -> conversation_pb2.PushResponse:
        """Take a batch of the learner's side of a subscribed session."""
        live = self._conversations.find_held(caller(), request.conversation_id)
        last_seq = await live.intake.push(request.requests)
        return conversation_pb2.PushResponse(last_seq=last_seq)

    async def ListScenarios(
        self, _request: conversation_pb2.ListScenariosRequest, _context: Context
    ) -> conversation_pb2.ListScenariosResponse:
        """Return the situations to practise."""
        return conversation_pb2.ListScenariosResponse(scenarios=self._conversations.scenarios())

    async def GetConversationState(
        self, request: conversation_pb2.GetConversationStateRequest, _context: Context
    ) -> conversation_pb2.GetConversationStateResponse:
        """Tell where one of the caller's sessions stands."""
        who: Caller = caller()
        live = self._conversations.find(who, request.conversation_id)
        session = live.session
        return conversation_pb2.GetConversationStateResponse(
            state=_STATES[session.state],
            turn=session.turn_number,
            generation=session.generation,
            connected=live.connected,
            unsaved_turns=session.unsaved_turns,
            started_at=to_timestamp(live.plan.started_at),
        )

    async def EraseUser(
        self, request: conversation_pb2.EraseUserRequest, _context: Context
    ) -> conversation_pb2.EraseUserResponse:
        """Erase everything of a user whose account was deleted."""
        erased, remaining = await self._conversations.erase_user(request.user_id.lower())
        return conversation_pb2.EraseUserResponse(erased=erased, remaining=remaining)


async def _read_upload(
    live: LiveSession, context: Context, first: conversation_pb2.ConverseRequest
) -> None:
    """Hand the messages of an upload to the session until the client closes it."""
    request: conversation_pb2.ConverseRequest | None = first
    while True:
        if request is not None:
            await live.intake.upload(request)
        try:
            message = await context.read()
        except ParleyError as error:
            live.refuse(error, int(error.metadata.get("seq", "0")))
            request = None
            continue
        if message is grpc.aio.EOF:
            return
        request = message.request


async def _read(live: LiveSession, context: Context) -> None:
    """Hand the client's messages to the session until it closes its side."""
    while True:
        try:
            message = await context.read()
        except ParleyError as error:
            live.refuse(error, int(error.metadata.get("seq", "0")))
            continue
        if message is grpc.aio.EOF:
            return
        waiting = live.take(message)
        if waiting is not None:
            await waiting
