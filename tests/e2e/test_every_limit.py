"""Every limit of `docs/limits.md`, at N and at N + 1, by every client that can come to it.

Those of the contract are read from the rules in the protos: a new rule is tried without being
written here. Those of the services are named in `TRIED_BY`, which a new one must join.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import fields
from importlib import import_module
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from parley.conversation.v1 import conversation_pb2
from parley.user.v1 import user_pb2
from services.common.codes import Code
from services.common.errors import ParleyError, error_for_code
from services.common.limits import DEFAULT_LIMITS, Limits
from services.common.status import from_rpc_error, from_status
from tests.contract.access.test_who_may_call import RULES
from tests.e2e import grpc_web
from tests.e2e.caller import BOUND_S, Caller, RawTalk, caller
from tests.e2e.web_talk import WAYS, WebTalk
from tests.fuzz.wire import LENGTH, Node, put_together
from tests.requests_at_limits import Place, places
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

INVALID = "INVALID_REQUEST"
CONVERSATION = "parley.conversation.v1.ConversationService"


@pytest.fixture
async def one(scripted_stack: Stack) -> AsyncIterator[Caller]:
    async with caller(scripted_stack.address) as signed_up:
        yield signed_up


# --- which client comes to which limit ---------------------------------------------------------

CLIENTS = ("native", "grpc-web", "websocket")

BETWEEN_SERVICES = "a method between services, which no client reaches"
STREAMED = "a page streams no request outside a talk"
NO_SESSION = "a WebSocket carries the messages of a session and nothing else"
SAME_MESSAGES = "the messages of Converse, which are tried there"


def why_not(place: Place, client: str) -> str:
    """Return why `client` does not come to a limit at this place; empty: it does."""
    method = place.method
    service = method.containing_service.full_name
    rule = RULES[f"{service.split('.')[1]}.{method.name}"]
    if not (rule.learner or rule.anybody):
        return BETWEEN_SERVICES
    if service == CONVERSATION and method.name in ("Subscribe", "Upload"):
        return SAME_MESSAGES
    if service == CONVERSATION and method.name == "Push" and len(place.path) > 1:
        return SAME_MESSAGES
    if in_session(place):
        return ""
    if client == "websocket":
        return NO_SESSION
    return STREAMED if client == "grpc-web" and method.client_streaming else ""


def in_session(place: Place) -> bool:
    """Tell whether it is a limit of the messages of a session, whatever way they come."""
    return f"{place.method.containing_service.full_name}/{place.method.name}" == (
        f"{CONVERSATION}/Converse"
    )


ROWS = [(client, place) for place in places() for client in CLIENTS if not why_not(place, client)]
LIVE = [(client, place) for client, place in ROWS if in_session(place)]
CALLS = [(client, place) for client, place in ROWS if not in_session(place)]


def test_every_limit_of_the_contract_is_tried_by_every_client_that_comes_to_it():
    """By its name, wherever it stands; what nobody comes to is between services everywhere."""
    tried: dict[str, set[str]] = {}
    for client, place in ROWS:
        tried.setdefault(place.limit.name, set()).add(client)
    for place in places():
        for client in CLIENTS:
            reason = why_not(place, client)
            if reason == SAME_MESSAGES:
                assert client in tried[place.limit.name], (client, place.limit.name)
    assert all("native" in clients for clients in tried.values())
    # What a session takes, all three bring.
    assert all(tried[place.limit.name] == set(CLIENTS) for _, place in LIVE)


# --- what a live session takes -----------------------------------------------------------------


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


def talking(one: Caller, client: str) -> contextlib.AbstractAsyncContextManager[RawTalk | WebTalk]:
    """Return a session of 48 kHz, in which the longest audio message is no more than 200 ms."""
    form = {"encoding": 1, "sample_rate_hz": 48_000, "channels": 1}
    return opened(one, client, engine="scripted", input_format=form)


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


async def met_in_a_session(
    one: Caller, client: str, request: conversation_pb2.ConverseRequest
) -> ParleyError | None:
    if request.HasField("start"):
        start = {field.name: value for field, value in request.start.ListFields()}
        try:
            async with opened(one, client, **start):
                return None
        except ParleyError as error:
            return error
    async with talking(one, client) as talk:
        # Behind the first message, however it was numbered.
        request.seq = 2
        if isinstance(talk, WebTalk):
            request.seq = talk.number()
        return await met(talk, request)


def complaint(place: Place, error: ParleyError | None) -> str:
    """Return what is said of the field; empty where nothing is."""
    if error is None:
        return ""
    assert error.reason != "INTERNAL", error
    if error.reason != INVALID:
        return ""
    said = {re.sub(r"\[\d+\]", "", each.field): each.description for each in error.fields}
    # A page's requests stand in a message of their own.
    return next((text for path, text in said.items() if path.endswith(place.dotted)), "")


@pytest.mark.parametrize(("client", "place"), LIVE, ids=str)
async def test_a_session_takes_n_and_not_n_and_one(one: Caller, client: str, place: Place):
    at_the_limit = complaint(place, await met_in_a_session(one, client, place.request(0)))
    beyond = complaint(place, await met_in_a_session(one, client, place.request(1)))
    assert beyond
    # What it comes to otherwise is not the question: there may be no such engine.
    assert at_the_limit != beyond


def ping_of(size: int) -> conversation_pb2.ConverseRequest:
    """Return a ping that is `size` bytes long: what the service does not know fills it up."""
    ping = conversation_pb2.ConverseRequest(seq=2, ping={"nonce": 7}).SerializeToString()
    for filler in range(size - len(ping) - 12, size):
        data = ping + put_together((Node(999, LENGTH, bytes(filler)),))
        if len(data) == size:
            return conversation_pb2.ConverseRequest.FromString(data)
    raise AssertionError(f"no message has {size} bytes")


@pytest.mark.parametrize("client", ["native", "websocket"])
async def test_a_live_message_may_have_so_many_bytes_and_no_more(one: Caller, client: str):
    """A page's batches are calls of their own, which may be as long as any call is."""
    limit = DEFAULT_LIMITS.max_stream_message_bytes
    for size, expected in ((limit, None), (limit + 1, "MESSAGE_TOO_LARGE")):
        async with talking(one, client) as talk:
            error = await met(talk, ping_of(size))
            assert (error.reason if error else None) == expected
            if error is not None:
                break


# --- what is sent in one call ------------------------------------------------------------------


async def answer(one: Caller, client: str, place: Place, request: Any) -> ParleyError | None:
    """Send the request; return its refusal."""
    method = place.method
    path = f"/{method.containing_service.full_name}/{method.name}"
    if client == "grpc-web":
        headers = dict(one.metadata)
        async with httpx.AsyncClient(base_url=f"http://{one.target}", timeout=BOUND_S) as web:
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
        return from_rpc_error(error)
    return None


@pytest.mark.parametrize(("client", "place"), CALLS, ids=str)
async def test_a_call_takes_n_and_not_n_and_one(one: Caller, client: str, place: Place):
    at_the_limit = complaint(place, await answer(one, client, place, place.request(0)))
    beyond = complaint(place, await answer(one, client, place, place.request(1)))
    assert beyond
    # There is no such conversation, no such time zone, and so on: another matter.
    assert at_the_limit != beyond


# --- what is no single field's ------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
async def test_audio_of_n_ms_is_taken_and_a_sample_more_is_not(one: Caller, client: str):
    form = {"encoding": 1, "sample_rate_hz": 16_000, "channels": 1}
    most = 2 * 16 * DEFAULT_LIMITS.max_audio_message_ms
    async with opened(one, client, engine="scripted", input_format=form) as talk:
        for size, expected in ((most, None), (most + 2, "AUDIO_FRAME_INVALID")):
            message = conversation_pb2.ConverseRequest(audio={"pcm": bytes(size)})
            message.seq = talk.number() if isinstance(talk, WebTalk) else 2
            error = await met(talk, message)
            assert (error.reason if error else None) == expected


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_learner_has_n_talks_and_one_more_is_refused(one: Caller, client: str):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(DEFAULT_LIMITS.conversations_per_user):
            await stack.enter_async_context(talking(one, client))
        with pytest.raises(ParleyError) as caught:
            await stack.enter_async_context(talking(one, client))
        assert caught.value.reason == "TOO_MANY_CONVERSATIONS"
        assert caught.value.retryable


@pytest.mark.parametrize("client", ["native", "grpc-web"])
async def test_a_request_may_have_so_many_bytes_and_no_more(one: Caller, client: str):
    (place, *_) = (each for each in places() if each.method.name == "UpdateProfile")
    for size, expected in (
        (DEFAULT_LIMITS.max_message_bytes, None),
        (DEFAULT_LIMITS.max_message_bytes + 1, Code.RESOURCE_EXHAUSTED),
    ):
        good = user_pb2.UpdateProfileRequest(account={"voice": "a"}).SerializeToString()
        # What the service does not know fills it up; six bytes say what it is and how long.
        filler = put_together((Node(999, LENGTH, bytes(size - len(good) - 6)),))
        request = user_pb2.UpdateProfileRequest.FromString(good + filler)
        assert request.ByteSize() == size
        error = await answer(one, client, place, request)
        assert (error.code if error else None) == expected


# --- those of the services ---------------------------------------------------------------------

SESSION = "the session behind every way in is the same, and judges what comes: "
DOOR = "counted before it is known what the call is: "
HANDSHAKE = "the headers of its handshake are as any request's: "
TURNS = "counted in the audio of a turn, whatever way it came: "
NOT_CALLS = "a WebSocket is no call; its learner's talks are bounded in time"
NOT_UNARY = "what it carries is a stream"
ONE_CALL = "a page's batches are calls of their own"
BETWEEN = "between services"

_HERE = __name__
_PIPELINE = "tests.unit.common.test_pipeline"
_TRANSPORT = "tests.unit.common.test_transport_limits"
_LIMITS = "tests.integration.conversation.test_session_limits"
_BAD_INPUT = "tests.integration.conversation.test_bad_input"
_EDGE = "tests.integration.gateway.test_edge:test_too_many_headers_are_refused"


def alike(why: str, test: str) -> dict[str, str]:
    """Return the rows of a limit that is the same code for all clients, and tried with one."""
    return {"native": test, "grpc-web": f"{why}{test}", "websocket": f"{why}{test}"}


TRIED_BY: dict[str, dict[str, str]] = {
    "max_message_bytes": {
        "native": f"{_HERE}:test_a_request_may_have_so_many_bytes_and_no_more",
        "grpc-web": f"{_HERE}:test_a_request_may_have_so_many_bytes_and_no_more",
        "websocket": NOT_UNARY,
    },
    "max_stream_message_bytes": {
        "native": f"{_HERE}:test_a_live_message_may_have_so_many_bytes_and_no_more",
        "grpc-web": ONE_CALL,
        "websocket": f"{_HERE}:test_a_live_message_may_have_so_many_bytes_and_no_more",
    },
    "max_metadata_bytes": {
        "native": f"{_TRANSPORT}:"
        "test_more_metadata_than_is_taken_is_refused_and_the_next_call_is_served",
        "grpc-web": _EDGE,
        "websocket": f"{HANDSHAKE}{_EDGE}",
    },
    "max_audio_message_ms": dict.fromkeys(
        CLIENTS, f"{_HERE}:test_audio_of_n_ms_is_taken_and_a_sample_more_is_not"
    ),
    "max_audio_ahead_ms": alike(
        SESSION,
        "tests.unit.conversation.test_audio_gate:test_a_burst_within_the_bound_is_not_held_back",
    ),
    "max_messages_per_second": alike(
        SESSION,
        "tests.unit.conversation.test_message_gate:test_a_burst_passes_and_one_more_does_not",
    ),
    "max_utterance_ms": alike(
        TURNS, "tests.unit.ai.test_turn_taking:test_a_turn_without_any_pause_ends_at_the_limit"
    ),
    "conversation_idle_seconds": alike(
        SESSION, f"{_LIMITS}:test_a_client_that_sends_nothing_for_long_is_idle"
    ),
    "conversation_max_seconds": alike(
        SESSION, f"{_LIMITS}:test_a_session_that_lasts_too_long_ends"
    ),
    "start_timeout_seconds": {
        "native": f"{_BAD_INPUT}:test_a_client_that_says_nothing_is_not_waited_for",
        "grpc-web": "Subscribe begins with its start",
        "websocket": "tests.contract.access.test_pace_of_websockets:"
        "test_a_learner_who_says_nothing_is_not_waited_for",
    },
    "conversations_per_user": dict.fromkeys(
        CLIENTS, f"{_HERE}:test_a_learner_has_n_talks_and_one_more_is_refused"
    ),
    "sessions_per_user": alike(
        DOOR,
        "tests.contract.user.test_sessions:"
        "test_an_account_has_so_many_sessions_and_one_more_ends_the_oldest",
    )
    | {"websocket": NO_SESSION},
    "concurrent_calls": alike(
        DOOR, f"{_TRANSPORT}:test_n_calls_at_once_are_taken_and_one_more_is_told_so"
    )
    | {
        "websocket": "tests.contract.access.test_pace_of_websockets:"
        "test_n_connections_at_once_find_a_place_and_one_more_does_not"
    },
    "concurrent_calls_per_user": alike(
        DOOR,
        f"{_PIPELINE}:test_n_calls_of_an_account_go_on_and_one_more_does_not_before_one_has_ended",
    )
    | {
        "websocket": "tests.contract.access.test_pace_of_websockets:"
        "test_n_silent_connections_of_a_learner_are_held_and_one_more_is_refused"
    },
    "calls_per_user_per_second": alike(
        DOOR,
        "tests.unit.common.test_pace:"
        "test_five_seconds_worth_may_come_at_once_and_one_more_is_told_how_long",
    ),
    "calls_per_address_per_second": alike(
        DOOR,
        "tests.unit.common.test_pace:"
        "test_five_seconds_worth_may_come_at_once_and_one_more_is_told_how_long",
    )
    | {
        "websocket": "tests.contract.access.test_pace_of_websockets:"
        "test_n_connections_from_an_address_pass_and_one_more_is_refused"
    },
    "resume_buffer_messages": alike(
        SESSION, "tests.unit.conversation.test_responses:test_of_what_is_kept_audio_goes_first"
    ),
    "default_deadline_seconds": alike(
        DOOR, f"{_PIPELINE}:test_a_unary_call_without_a_deadline_gets_one"
    )
    | {"websocket": NOT_UNARY},
    "max_deadline_seconds": alike(
        DOOR, f"{_PIPELINE}:test_a_deadline_longer_than_is_allowed_is_shortened"
    )
    | {"websocket": NOT_UNARY},
    "max_stream_seconds": alike(
        DOOR, f"{_PIPELINE}:test_a_stream_ends_as_well_whatever_its_client_asks"
    )
    | {"websocket": NOT_CALLS},
    "peer_deadline_seconds": {
        "native": "tests.unit.common.test_channel:"
        "test_a_unary_call_without_a_deadline_gets_the_peers_own",
        "grpc-web": BETWEEN,
        "websocket": BETWEEN,
    },
}
"""By the limit's name and the client: the test that comes to it and goes past it, most with a
smaller one; or why there is none, with the test of the same code where there is one."""


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
def test_every_limit_of_the_services_has_its_test(name: str):
    assert set(TRIED_BY[name]) == set(CLIENTS)
    tests = {
        test for row in TRIED_BY[name].values() for test in re.findall(r"tests[.\w]+:\w+", row)
    }
    assert tests
    for place in tests:
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function)), place


def test_no_row_is_of_a_limit_that_is_gone():
    assert set(TRIED_BY) == {each.name for each in fields(Limits)}
