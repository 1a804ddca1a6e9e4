"""Every limit of `docs/limits.md`, at N and at N + 1, in each way that its field can be sent."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import fields
from importlib import import_module
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from parley.conversation.v1 import conversation_pb2
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.common.limits import DEFAULT_LIMITS, Limits
from services.common.limits_page import CONTRACT, most
from services.common.status import from_rpc_error
from tests.contract.access.conftest import SERVICES
from tests.contract.access.test_who_may_call import RULES
from tests.e2e import grpc_web
from tests.e2e.caller import BOUND_S, Caller, RawTalk, caller
from tests.e2e.web_talk import WAYS, WebTalk
from tests.fuzz.wire import LENGTH, Node, put_together
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

INVALID = "INVALID_REQUEST"


@pytest.fixture
async def one(scripted_stack: Stack) -> AsyncIterator[Caller]:
    async with caller(scripted_stack.address) as signed_up:
        yield signed_up


# --- what a live session takes -----------------------------------------------------------------

LIVE = {"LearnerAudio.pcm": "audio", "LearnerText.text": "text"}


@contextlib.asynccontextmanager
async def talking(one: Caller, way: str) -> AsyncIterator[RawTalk | WebTalk]:
    """Yield a session of 48 kHz, in which the longest audio message is no more than 200 ms."""
    form = {"encoding": 1, "sample_rate_hz": 48_000, "channels": 1}
    if way == "native":
        raw = RawTalk(one)
        await raw.start(input_format=form)
        try:
            yield raw
        finally:
            raw.call.cancel()
    else:
        async with WAYS[way](one) as talk:
            await talk.start(engine="scripted", input_format=form)
            yield talk


async def told(talk: RawTalk | WebTalk, **message: Any) -> str:
    """Send a message; return the reason of the notice that it brings, or of its refusal."""
    try:
        await talk.send(**message)
        await talk.send(ping={"nonce": 7})
        await talk.until("pong")
    except ParleyError as error:
        return error.reason
    return talk.notices[-1].reason if talk.notices else "OK"


@pytest.mark.parametrize("way", ["native", "push", "websocket"])
@pytest.mark.parametrize("path", sorted(LIVE))
async def test_a_live_message_of_n_passes_and_one_of_n_and_one_does_not(
    one: Caller, way: str, path: str
):
    kind, (name, field) = LIVE[path], path.split(".")
    limit = most(conversation_pb2.DESCRIPTOR, path)
    filler: Any = b"\0" if field == "pcm" else "a"
    assert name in conversation_pb2.DESCRIPTOR.message_types_by_name
    async with talking(one, way) as talk:
        assert await told(talk, **{kind: {field: filler * limit}}) == "OK"
    async with talking(one, way) as talk:
        assert await told(talk, **{kind: {field: filler * (limit + 1)}}) == INVALID


async def answered(talk: RawTalk | WebTalk, message: conversation_pb2.ConverseRequest) -> str:
    """Send a message as it is; return the reason of its notice or of its refusal."""
    try:
        if isinstance(talk, RawTalk):
            await talk.call.write(message)
        else:
            await talk.write(message)
        await talk.send(ping={"nonce": 8})
        await talk.until("pong")
    except ParleyError as error:
        return error.reason
    return talk.notices[-1].reason if talk.notices else "OK"


def ping_of(size: int) -> conversation_pb2.ConverseRequest:
    """Return a ping that is `size` bytes long: what the service does not know fills it up."""
    ping = conversation_pb2.ConverseRequest(seq=2, ping={"nonce": 7}).SerializeToString()
    for filler in range(size - len(ping) - 12, size):
        data = ping + put_together((Node(999, LENGTH, bytes(filler)),))
        if len(data) == size:
            return conversation_pb2.ConverseRequest.FromString(data)
    raise AssertionError(f"no message has {size} bytes")


@pytest.mark.parametrize("way", ["native", "websocket"])
async def test_a_live_message_may_have_so_many_bytes_and_no_more(one: Caller, way: str):
    """A page's batches are calls of their own, which may be as long as any call is."""
    limit = DEFAULT_LIMITS.max_stream_message_bytes
    for size, expected in ((limit, "OK"), (limit + 1, "MESSAGE_TOO_LARGE")):
        async with talking(one, way) as talk:
            assert await answered(talk, ping_of(size)) == expected


# --- what is sent in one call ------------------------------------------------------------------


def method_of(path: str) -> tuple[str, MethodDescriptor]:
    """Return a method whose request has the field of `path`, in itself or one message deeper."""
    name = path.partition(".")[0]
    for service, descriptor in SERVICES.items():
        for method in descriptor.methods:
            rule = RULES[f"{service}.{method.name}"]
            if (rule.learner or rule.anybody) and _holds(method.input_type, name):
                return service, method
    raise AssertionError(f"no method takes {path}")


def _holds(message: Descriptor, name: str) -> bool:
    inner = (each.message_type for each in message.fields if each.message_type is not None)
    return message.name == name or any(each.name == name for each in inner)


GOOD: dict[str, dict[str, Any]] = {
    "PushRequest": {"conversation_id": new_id()},
    "GenerateRequest": {"messages": [{"role": 2, "text": "a"}]},
    "GetConversationRequest": {"conversation_id": new_id()},
    "SearchTurnsRequest": {"query": "a"},
    "RegisterRequest": {"username": "limit-of-it", "password": "three odd words"},
}
"""What a request needs besides the field that is tried."""


def request_with(path: str, size: int) -> Message:
    """Return a request in which the field of `path` is, or has, `size`."""
    name, _, field_name = path.partition(".")
    _, method = method_of(path)
    request = GetMessageClass(method.input_type)(**GOOD.get(method.input_type.name, {}))
    message: Any = request
    if method.input_type.name != name:
        # One message deeper, and repeated wherever it is: the first of them.
        (holder,) = (
            each
            for each in method.input_type.fields
            if each.message_type is not None and each.message_type.name == name
        )
        message = getattr(request, holder.name)[0]
    field: FieldDescriptor = message.DESCRIPTOR.fields_by_name[field_name]
    if field.is_repeated:
        message.ClearField(field_name)
        getattr(message, field_name).extend(_item(field) for _ in range(size))
    elif field.type == FieldDescriptor.TYPE_BYTES:
        setattr(message, field_name, bytes(size))
    elif path == "RegisterRequest.username":
        setattr(message, field_name, address_of(size))
    elif field.type == FieldDescriptor.TYPE_STRING:
        setattr(message, field_name, "a" * size)
    else:
        setattr(message, field_name, size)
    return request


def address_of(size: int) -> str:
    """Return an email address of so many characters, new each time: only those are so long."""
    local, first, second = secrets.token_hex(32), "b" * 63, "c" * 63
    rest = "d" * (size - len(f"{local}@{first}.{second}."))
    return f"{local}@{first}.{second}.{rest}"


def _item(field: FieldDescriptor) -> Any:
    if field.message_type is None:
        return new_id()
    if field.message_type.name == "ChatMessage":
        return GetMessageClass(field.message_type)(role=2, text="a")
    return GetMessageClass(field.message_type)(ping={"nonce": 1})


async def answer(
    one: Caller, way: str, service: str, method: MethodDescriptor, request: Any
) -> str:
    """Send the request; return OK or the reason of the refusal."""
    path = f"/{SERVICES[service].full_name}/{method.name}"
    if way == "page":
        headers = dict(one.metadata)
        async with httpx.AsyncClient(base_url=f"http://{one.target}", timeout=BOUND_S) as web:
            said = await grpc_web.call(web, path, request, headers)
        return said.reason or ("OK" if said.code == 0 else f"status {said.code}: {said.text}")
    kind = "stream_" if method.client_streaming else "unary_"
    kind += "stream" if method.server_streaming else "unary"
    build: Any = getattr(one.channel, kind)(
        path, request_serializer=lambda message: message.SerializeToString()
    )
    try:
        call = build(metadata=one.metadata, timeout=BOUND_S) if method.client_streaming else None
        if call is None:
            call = build(request, metadata=one.metadata, timeout=BOUND_S)
        else:
            await call.write(request)
            await call.done_writing()
        if method.server_streaming:
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return "OK"


FIELDS = [
    (way, file, path)
    for file, path in CONTRACT
    if path not in LIVE
    # A page streams no request outside a talk.
    for way in (["native"] if method_of(path)[1].client_streaming else ["native", "page"])
]


@pytest.mark.parametrize(
    ("way", "file", "path"), FIELDS, ids=lambda each: str(getattr(each, "name", each))
)
async def test_a_field_of_n_passes_and_one_of_n_and_one_does_not(
    one: Caller, way: str, file: Any, path: str
):
    service, method = method_of(path)
    limit = most(file, path)
    at_the_limit = await answer(one, way, service, method, request_with(path, limit))
    # What the request then comes to is not the question: there is no such conversation, and so on.
    assert at_the_limit not in (INVALID, "INTERNAL"), at_the_limit
    assert await answer(one, way, service, method, request_with(path, limit + 1)) == INVALID


# --- the others --------------------------------------------------------------------------------

TRIED_BY = {
    "max_message_bytes": "tests.unit.common.test_pipeline:"
    "test_ten_megabytes_are_refused_and_the_next_call_is_served",
    "max_stream_message_bytes": f"{__name__}:"
    "test_a_live_message_may_have_so_many_bytes_and_no_more",
    "max_audio_message_ms": "tests.integration.conversation.test_bad_input:"
    "test_bad_frames_become_notices_and_the_session_goes_on",
    "max_audio_ahead_ms": "tests.unit.conversation.test_audio_gate:"
    "test_a_burst_within_the_bound_is_not_held_back",
    "max_messages_per_second": "tests.unit.conversation.test_message_gate:"
    "test_a_burst_passes_and_one_more_does_not",
    "conversation_idle_seconds": "tests.integration.conversation.test_session_limits:"
    "test_a_client_that_sends_nothing_for_long_is_idle",
    "conversation_max_seconds": "tests.integration.conversation.test_session_limits:"
    "test_a_session_that_lasts_too_long_ends",
    "start_timeout_seconds": "tests.integration.conversation.test_bad_input:"
    "test_a_client_that_says_nothing_is_not_waited_for",
    "conversations_per_user": "tests.integration.conversation.test_session_limits:"
    "test_one_learner_has_so_many_sessions_and_the_process_so_many",
    "sessions_per_user": "tests.contract.user.test_sessions:"
    "test_an_account_has_so_many_sessions_and_one_more_ends_the_oldest",
    "calls_per_user_per_second": "tests.unit.common.test_pace:"
    "test_five_seconds_worth_may_come_at_once_and_one_more_is_told_how_long",
    "calls_per_address_per_second": "tests.contract.access.test_pace_of_websockets:"
    "test_n_connections_from_an_address_pass_and_one_more_is_refused",
    "default_deadline_seconds": "tests.unit.common.test_pipeline:"
    "test_a_unary_call_without_a_deadline_gets_one",
    "max_metadata_bytes": "tests.unit.common.test_transport_limits:"
    "test_more_metadata_than_is_taken_is_refused_and_the_next_call_is_served",
    "concurrent_calls": "tests.unit.common.test_transport_limits:"
    "test_n_calls_at_once_are_taken_and_one_more_is_told_so",
    "max_utterance_ms": "tests.unit.ai.test_turn_taking:"
    "test_a_turn_without_any_pause_ends_at_the_limit",
    "resume_buffer_messages": "tests.unit.conversation.test_responses:"
    "test_of_what_is_kept_audio_goes_first",
    "peer_deadline_seconds": "tests.unit.common.test_channel:"
    "test_a_unary_call_without_a_deadline_gets_the_peers_own",
    "max_deadline_seconds": "tests.unit.common.test_pipeline:"
    "test_a_deadline_longer_than_is_allowed_is_shortened",
}
"""By the limit's name: the test that comes to it and goes past it, most with a smaller one."""


def test_every_limit_of_the_services_has_its_test():
    names = {each.name for each in fields(Limits)}
    assert names == set(TRIED_BY)
    for place in TRIED_BY.values():
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name)), place
