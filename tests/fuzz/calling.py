"""Sends messages of any bytes to the methods of a service, and judges what comes back."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from tests.fuzz.mutation import Mutator
from tests.fuzz.target import Learner, Target

SERVICES: dict[str, ServiceDescriptor] = {
    "user": user_pb2.DESCRIPTOR.services_by_name["UserService"],
    "conversation": conversation_pb2.DESCRIPTOR.services_by_name["ConversationService"],
    "ai": ai_pb2.DESCRIPTOR.services_by_name["AiService"],
    "history": history_pb2.DESCRIPTOR.services_by_name["HistoryService"],
    "media": media_pb2.DESCRIPTOR.services_by_name["MediaService"],
}

BETWEEN_SERVICES = {
    "user.FindEndedSessions": "conversation",
    "conversation.EraseUser": "user",
    "history.EraseUser": "user",
    "media.EraseUser": "user",
    "ai.Converse": "conversation",
    "history.Ingest": "conversation",
    "media.Record": "conversation",
}
"""The methods that no learner may call, and the service that may."""

WEBSOCKET = "conversation./ws"

_ENDS_A_SIGN_IN = ("user.RevokeSession", "user.DeleteAccount", "user.Logout")

# A stream's first message is a good one in most calls: behind it is what there is to break.
_GOOD_START = 0.8
_MESSAGES_A_STREAM = 12

# A call that takes longer hangs, or waits for what never comes: it is ended here, which is no
# failure of the service, but its calls are counted.
_SECONDS = 5.0

# After the last frame a live session answers a ping, and one that was ended closes. This long on
# any machine means that nobody is there any more.
_HANGS_S = 30.0
_HUNG = "HUNG"
_NONCE = 0x5EED_F00D

_WRONG = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)

# A write that races with the end of its call hides the status (grpcio 1.85): said by the client's
# own side, not by the service.
_HIDDEN = "from Core"


@dataclass(slots=True)
class Outcome:
    """What became of the messages: how many calls ended how, and which ended wrongly.

    sent: malformed or mutated ones.
    good: those beside them that keep the rules: openings of streams, and drawn ones left as they
        were.
    """

    sent: int = 0
    good: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return one line."""
        ends = ", ".join(f"{name} {count:,}" for name, count in self.ends.most_common())
        return (
            f"{self.sent:,} malformed or mutated messages and {self.good:,} good ones "
            f"in {self.ends.total():,} calls: {ends}"
        )


async def fuzz(target: Target, service: str, messages: int, seed: str) -> Outcome:
    """Send `messages` malformed or mutated messages to the methods of `service`, each in its turn.

    Good ones, which open a stream or come among the drawn, are sent on top. The same seed sends
    the same bytes in the same calls; in which order they arrive is chance.
    """
    outcome = Outcome()
    names = [f"{service}.{method.name}" for method in SERVICES[service].methods]
    if service == "conversation":
        names.append(WEBSOCKET)
    calls = ((name, number) for number in itertools.count() for name in names)

    async def send(learner: Learner) -> None:
        for name, number in calls:
            if outcome.sent >= messages:
                return
            await _call(target, learner, f"{name}#{seed}.{number}", outcome)

    async with asyncio.TaskGroup() as group:
        for learner in target.learners:
            group.create_task(send(learner))
    return outcome


async def _call(target: Target, learner: Learner, name: str, outcome: Outcome) -> None:
    """Make one call; `name` (`user.Login#seed.number`) is what its messages are drawn from."""
    method_name = name.partition("#")[0]
    service, _, rpc = method_name.partition(".")
    mutator = Mutator(name, learner.hints)
    if method_name == WEBSOCKET:
        request = conversation_pb2.ConverseRequest.DESCRIPTOR
        made = _messages(mutator, name, request, streams=True)
        sent = [data for data, _ in made]
        end = await frames(target.websocket, learner.metadata, sent)
    else:
        method = SERVICES[service].methods_by_name[rpc]
        made = _messages(mutator, name, method.input_type, streams=method.client_streaming)
        sent = [data for data, _ in made]
        metadata = learner.metadata
        if method_name in BETWEEN_SERVICES:
            metadata = target.service(BETWEEN_SERVICES[method_name], service)
        end = await _rpc(target.channels[service], method, metadata, sent)
    if end == "OK" and method_name in _ENDS_A_SIGN_IN:
        await target.renew(learner)
    changed = sum(broken for _, broken in made)
    outcome.sent += changed
    outcome.good += len(made) - changed
    outcome.ends[end.split(":")[0]] += 1
    if end.split(":")[0] in {_HUNG, *(code.name for code in _WRONG)}:
        said = " ".join(each.hex() or "(empty)" for each in sent)
        outcome.wrong.append(f"{name} ended with {end}\n{said[:4000]}")


def _messages(
    mutator: Mutator, name: str, request: Any, *, streams: bool
) -> list[tuple[bytes, bool]]:
    """Return what one call sends, and of each message whether it is other than a good one."""
    if not streams:
        return [mutator.message(request)]
    random = Random(f"{name} stream")
    count = random.randint(1, _MESSAGES_A_STREAM)
    rest = [mutator.message(request) for _ in range(count)]
    if random.random() < _GOOD_START:
        return [(mutator.opening(request), False), *rest]
    return rest


async def _rpc(
    channel: grpc.aio.Channel, method: MethodDescriptor, metadata: Any, sent: Iterable[bytes]
) -> str:
    kind = "stream_" if method.client_streaming else "unary_"
    kind += "stream" if method.server_streaming else "unary"
    multi = getattr(channel, kind)(f"/{method.containing_service.full_name}/{method.name}")
    try:
        if not method.client_streaming:
            (message,) = sent
            call = multi(message, metadata=metadata, timeout=_SECONDS)
            if method.server_streaming:
                await _drained(call)
            else:
                await call
            return "OK"
        call = multi(metadata=metadata, timeout=_SECONDS)
        async with asyncio.TaskGroup() as group:
            if method.server_streaming:
                group.create_task(_drained(call))
            group.create_task(_written(call, sent))
        code, details = await call.code(), await call.details()
    except* grpc.aio.AioRpcError as group_of:
        error = group_of.exceptions[0]
        assert isinstance(error, grpc.aio.AioRpcError)
        code, details = error.code(), error.details()
    if code in _WRONG and _HIDDEN in (details or ""):
        return "(hidden)"
    return f"{code.name}: {details}" if code is not grpc.StatusCode.OK else "OK"


async def _written(call: Any, sent: Iterable[bytes]) -> None:
    try:
        for each in sent:
            await call.write(each)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # It was ended over one of them; whoever reads hears how.
        return


async def _drained(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def frames(
    url: str, metadata: Iterable[tuple[str, str]], sent: Iterable[bytes], hangs_s: float = _HANGS_S
) -> str:
    """Send each message in a binary frame, now and then a text frame instead; return how it ended.

    Behind them comes a ping: a session that neither answers it nor closes hangs.
    """
    socket: ClientConnection | None = None
    try:
        async with asyncio.timeout(hangs_s):
            socket = await connect(
                url,
                additional_headers=dict(metadata),
                subprotocols=[Subprotocol("parley.v1")],
                # Ours is the only bound: the library would pass over one that does not close.
                open_timeout=None,
                close_timeout=None,
            )
            for number, each in enumerate(sent):
                await socket.send(each if number % 7 != 6 else each.decode("latin-1"))
            ping = conversation_pb2.Ping(nonce=_NONCE)
            await socket.send(conversation_pb2.ConverseRequest(ping=ping).SerializeToString())
            async for frame in socket:
                assert isinstance(frame, bytes), "no text is ever sent"
                if conversation_pb2.ConverseResponse.FromString(frame).pong.nonce == _NONCE:
                    break
            await socket.close()
    except TimeoutError:
        return f"{_HUNG}: nothing came for {hangs_s:.0f} s"
    except InvalidStatus as error:
        return f"HTTP {error.response.status_code}"
    except ConnectionClosed as error:
        code = error.rcvd.code if error.rcvd else 1006
        wrong = {4000 + each.value[0] for each in _WRONG} | {1011}
        return f"INTERNAL: closed with {code}" if code in wrong else f"CLOSED {code}"
    finally:
        if socket is not None:
            socket.transport.abort()
            await socket.wait_closed()
    return "OK"
