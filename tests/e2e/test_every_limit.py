"""Every limit of `docs/limits.md`, at N and at N + 1, by every client that can come to it.

Those of the contract are read from the rules in the protos: a new rule is tried without being
written here. Those of the services are named in `tests/tried_limits.py`, which a new one must join.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from parley.conversation.v1 import conversation_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from services.common import limits_page
from services.common.codes import Code
from services.common.errors import ParleyError
from services.common.limits import DEFAULT_LIMITS, Limits
from tests.contract.access.test_who_may_call import RULES
from tests.e2e.caller import Caller, caller
from tests.e2e.clients import answer, met, opened, talking
from tests.e2e.test_small_limits import TRIED as SMALL_TRIED
from tests.e2e.web_talk import UploadTalk, WebTalk, frame
from tests.fuzz.wire import LENGTH, Node, put_together
from tests.requests_at_limits import Place, places
from tests.stack import Stack
from tests.tried_limits import CLIENTS, OF_EDGE, OF_SETTINGS, SMALL, TRIED

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


def filled_up(message: bytes, size: int) -> bytes:
    """Return the message in `size` bytes: a field that the service does not know fills it up."""
    for filler in range(size - len(message) - 12, size):
        data = message + put_together((Node(999, LENGTH, bytes(filler)),))
        if len(data) == size:
            return data
    raise AssertionError(f"no message has {size} bytes")


def ping_of(size: int) -> conversation_pb2.ConverseRequest:
    """Return a ping that is `size` bytes long."""
    ping = conversation_pb2.ConverseRequest(seq=2, ping={"nonce": 7}).SerializeToString()
    return conversation_pb2.ConverseRequest.FromString(filled_up(ping, size))


async def upload_messages_of_n_bytes(one: Caller) -> None:
    async with UploadTalk(one) as talk:
        await talk.start()
        await talk.send(ping={"nonce": 1})
        await talk.until("pong")
        assert talk.upload is not None
        for beyond in (0, 1):
            ping = conversation_pb2.ConverseRequest(seq=talk.number(), ping={"nonce": 2})
            whole = conversation_pb2.UploadRequest(request=ping).SerializeToString()
            data = filled_up(whole, DEFAULT_LIMITS.max_stream_message_bytes + beyond)
            await talk.upload.write(frame(conversation_pb2.UploadRequest.FromString(data)))
            if beyond:
                # It is refused, and the stream goes on.
                assert (await talk.until("notice")).notice.fatal is False
                assert talk.notices[-1].reason == "MESSAGE_TOO_LARGE"
            else:
                assert (await talk.until("pong")).pong.nonce == 2
        await talk.send(finish={})
        await talk.until("ended")


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_live_message_may_have_so_many_bytes_and_no_more(one: Caller, client: str):
    """A page that pushes has its batches in calls of their own, as long as any; one uploads."""
    if client == "grpc-web":
        await upload_messages_of_n_bytes(one)
        return
    limit = DEFAULT_LIMITS.max_stream_message_bytes
    for size, expected in ((limit, None), (limit + 1, "MESSAGE_TOO_LARGE")):
        async with talking(one, client) as talk:
            error = await met(talk, ping_of(size))
            assert (error.reason if error else None) == expected
            if error is not None:
                break


# --- what is sent in one call ------------------------------------------------------------------


@pytest.mark.parametrize(("client", "place"), CALLS, ids=str)
async def test_a_call_takes_n_and_not_n_and_one(one: Caller, client: str, place: Place):
    at_the_limit = complaint(place, await answer(one, client, place.method, place.request(0)))
    beyond = complaint(place, await answer(one, client, place.method, place.request(1)))
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
        error = await answer(one, client, place.method, request)
        assert (error.code if error else None) == expected


@pytest.mark.parametrize("client", ["native", "grpc-web"])
async def test_a_health_check_may_have_so_many_bytes_and_no_more(one: Caller, client: str):
    check = health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name["Check"]
    for size, expected in ((0, "NOT_FOUND"), (1, "MESSAGE_TOO_LARGE")):
        # Three bytes say what it is and how long.
        name = "a" * (DEFAULT_LIMITS.max_open_message_bytes - 3 + size)
        error = await answer(one, client, check, health_pb2.HealthCheckRequest(service=name))
        assert error is not None
        assert expected in (error.reason, error.code.name)


async def test_a_piece_of_a_file_may_have_so_many_bytes_and_no_more(one: Caller):
    upload = media_pb2.DESCRIPTOR.services_by_name["MediaService"].methods_by_name["UploadAudio"]
    about = media_pb2.UploadAudioRequest(metadata={"file_name": "a.wav"}).SerializeToString()
    for beyond, expected in ((0, "BAD_AUDIO"), (1, "MESSAGE_TOO_LARGE")):
        filled = filled_up(about, DEFAULT_LIMITS.max_piece_message_bytes + beyond)
        request = media_pb2.UploadAudioRequest.FromString(filled)
        error = await answer(one, "native", upload, request)
        assert error is not None
        assert error.reason == expected


@pytest.mark.parametrize("client", ["native", "grpc-web"])
async def test_a_batch_may_lie_so_far_ahead_and_no_farther(one: Caller, client: str):
    push = conversation_pb2.DESCRIPTOR.services_by_name["ConversationService"].methods_by_name[
        "Push"
    ]
    async with talking(one, "grpc-web") as talk:
        assert isinstance(talk, WebTalk)
        for beyond, expected in ((0, None), (1, "SEQUENCE_GAP")):
            seq = talk.seq + DEFAULT_LIMITS.push_reorder_messages + beyond
            batch = [conversation_pb2.ConverseRequest(seq=seq, ping={"nonce": 1})]
            request = conversation_pb2.PushRequest(
                conversation_id=talk.conversation_id, requests=batch
            )
            error = await answer(one, client, push, request)
            assert (error.reason if error else None) == expected


# --- those of the services ---------------------------------------------------------------------


def test_every_limit_of_the_services_has_its_row():
    assert set(TRIED) == {each.name for each in fields(Limits)}
    assert set(OF_SETTINGS) == set(limits_page.OF_SETTINGS)
    assert set(OF_EDGE) == set(limits_page.OF_EDGE)


def test_the_gateway_has_the_bounds_that_the_page_names():
    configured = (Path(__file__).parents[2] / "gateway" / "envoy.yaml.j2").read_text("utf-8")
    bounds = {
        "the head of a request": ("max_request_headers_kb", {16}),
        "streams of a connection": ("max_concurrent_streams", {1_000}),
        "requests that wait for a connection": ("max_pending_requests", {256}),
    }
    assert set(bounds) == set(OF_EDGE)
    for name, (key, values) in bounds.items():
        assert {int(each) for each in re.findall(rf"{key}: (\d+)", configured)} == values
        assert f"{min(values):,}" in limits_page.OF_EDGE[name][0]


def test_every_setting_that_is_a_limit_is_one_that_there_is():
    settings = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")
    assert [name for name in OF_SETTINGS if f"`{name}`" not in settings] == []


ALL = {**TRIED, **OF_SETTINGS, **OF_EDGE}


def tried_by(test: Any) -> set[str]:
    """Return the clients that a test is, one after the other.

    One that is not parametrised with them calls as every test does, by native gRPC.
    """
    for mark in getattr(test, "pytestmark", ()):
        names, values = mark.args[:2] if mark.name == "parametrize" else ("", ())
        names = names.split(",") if isinstance(names, str) else list(names)
        if "client" in names:
            at = names.index("client")
            rows = [getattr(each, "values", each) for each in values]
            return {row if isinstance(row, str) else row[at] for row in rows}
    return {"native"}


def test_who_tries_a_limit_is_read_from_the_test_itself():
    assert tried_by(test_a_learner_has_n_talks_and_one_more_is_refused) == set(CLIENTS)
    assert tried_by(test_a_batch_may_lie_so_far_ahead_and_no_farther) == {"native", "grpc-web"}
    assert tried_by(test_a_piece_of_a_file_may_have_so_many_bytes_and_no_more) == {"native"}
    assert tried_by(resolve_name(SMALL)) == set(CLIENTS)


@pytest.mark.parametrize("name", ALL)
def test_every_row_names_tests_of_its_clients_and_says_why_where_there_is_none(name: str):
    row = ALL[name]
    assert tuple(row) == CLIENTS
    assert any(cell.test for cell in row.values())
    for client, cell in row.items():
        assert cell.test or cell.note
        if cell.test:
            found: Any = resolve_name(cell.test)
            assert callable(found), cell.test
            # One test for all says what they have in common; another has been each of them.
            assert cell.note if cell.common else client in tried_by(found), (client, cell.test)


def test_the_small_limits_are_tried_by_the_clients_that_the_rows_say():
    said = {
        name: tuple(client for client, cell in row.items() if cell.test == SMALL)
        for name, row in ALL.items()
    }
    assert {name: clients for name, clients in said.items() if clients} == SMALL_TRIED
