"""The limits of the services at N and at N + 1, made small, by every client that comes to them.

A row of the table is a limit with the function that tries it; `tests/tried_limits.py` says of which
clients. Limits of time are never judged by how soon something happens: a client is not sent away
before N, and is sent away afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from parley.conversation.v1 import conversation_pb2
from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.codes import Code
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.common.limits import DEFAULT_LIMITS
from tests.e2e import grpc_web
from tests.e2e.caller import BOUND_S, Caller, RawTalk, StatusHiddenError
from tests.e2e.clients import answer, talking
from tests.e2e.town import LOGIN_ATTEMPTS, SESSIONS, Parley, Small, Town, town
from tests.e2e.web_talk import WAYS, PushTalk, UploadTalk, WebSocketTalk, WebTalk
from tests.tried_limits import CLIENTS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

IDLE_S = LONGEST_S = STREAM_S = 0.5
START_S = DEFAULT_S = 0.3
MOST_S = 0.6
AHEAD_MS = 400
HELD_BACK_S = 0.3
MESSAGES_A_SECOND, BURST_S = 2, 4
KEPT = 6
CALLS = 3
OF_ACCOUNT, OF_ADDRESS, TOGETHER = 20, 10, 2
LIVE = 2

SMALL = {
    "patience": Small({"conversation_idle_seconds": IDLE_S, "start_timeout_seconds": START_S}),
    "length": Small({"conversation_max_seconds": LONGEST_S}),
    "deadlines": Small(
        {
            "default_deadline_seconds": DEFAULT_S,
            "max_deadline_seconds": MOST_S,
            "max_stream_seconds": STREAM_S,
        }
    ),
    "messages": Small(
        {
            "max_messages_per_second": MESSAGES_A_SECOND,
            "resume_buffer_messages": KEPT,
        }
    ),
    "audio": Small(
        {"max_audio_ahead_ms": AHEAD_MS, "audio_held_back_seconds": HELD_BACK_S},
    ),
    "places": Small({"concurrent_calls": CALLS, "conversations_per_user": 2 * CALLS}),
    "few": Small({}, {"max_sessions": LIVE}),
    "elsewhere": Small(
        {
            # So slow that none comes back while a test runs.
            "calls_per_address_per_second": OF_ADDRESS / 1_000,
            "calls_per_user_per_second": OF_ACCOUNT / 1_000,
            "call_burst_seconds": 1_000,
        },
        from_elsewhere=True,
    ),
    "together": Small({"concurrent_calls_per_user": TOGETHER}, from_elsewhere=True),
}
"""By name: sets of limits that do not stand in each other's way."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with town(tmp_path_factory.mktemp("town")) as services:
        yield services


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(SMALL))
async def parley(here: Town, request: Any) -> AsyncIterator[Parley]:
    async with here.parley(SMALL[request.param]) as small:
        yield small


Try = Callable[[Parley, str], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """How limits are tried: with which set of small ones, by which clients."""

    limits: tuple[str, ...]
    small: str
    clients: tuple[str, ...]
    tried: Try


ROWS: list[Row] = []

CALLED = ("native", "grpc-web")


def tries(small: str, *limits: str, by: tuple[str, ...] = CLIENTS) -> Callable[[Try], Try]:
    """Make the function what tries `limits`, with the set of small ones of that name."""

    def keep(tried: Try) -> Try:
        ROWS.append(Row(limits, small, by, tried))
        return tried

    return keep


def unrecorded(one: Caller, client: str) -> AbstractAsyncContextManager[RawTalk | WebTalk]:
    """Return a session of which no sound is kept: its end takes no time."""
    return talking(one, client, no_recording=True)


# --- time --------------------------------------------------------------------------------------


async def ends_with(talk: RawTalk | WebTalk) -> str:
    """Read to the end; return the reason that the talk ended with."""
    try:
        async with asyncio.timeout(BOUND_S):
            while True:
                response = await talk.read()
                if isinstance(talk, WebSocketTalk) and response.notice.fatal:
                    # It is closed with the same a second later.
                    return talk.notices[-1].reason
    except EOFError:
        return ""
    except ParleyError as error:
        return error.reason


@tries("patience", "conversation_idle_seconds")
async def who_says_nothing_is_idle(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        before = time.monotonic()
        async with unrecorded(one, client) as talk:
            assert await ends_with(talk) == "CONVERSATION_IDLE"
            assert time.monotonic() - before >= IDLE_S


@tries("length", "conversation_max_seconds")
async def a_talk_lasts_so_long_and_no_longer(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        before = time.monotonic()
        async with unrecorded(one, client) as talk:
            assert await ends_with(talk) == "CONVERSATION_TOO_LONG"
            assert time.monotonic() - before >= LONGEST_S


@tries("patience", "start_timeout_seconds")
async def who_does_not_begin_is_not_waited_for(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        before = time.monotonic()
        if client == "native":
            raw = RawTalk(one)
            assert await ends_with(raw) == "START_REQUIRED"
        elif client == "websocket":
            async with WebSocketTalk(one) as talk:
                await talk.handshake()
                assert await ends_with(talk) == "START_REQUIRED"
        else:
            async with UploadTalk(one) as talk:
                await talk.begin_upload()
                assert talk.upload is not None
                with pytest.raises(ParleyError) as caught:
                    await talk.answer(talk.upload)
                (field,) = caught.value.fields
                assert field.field == "conversation_id"
        assert time.monotonic() - before >= START_S


def recording(talk: RawTalk | WebTalk, seconds: float) -> conversation_pb2.PushRequest:
    """Return a batch of so much audio, at once: it is taken at the pace of speech."""
    pcm = bytes(2 * 48 * 200)
    batch = [
        conversation_pb2.ConverseRequest(seq=number, audio={"pcm": pcm})
        for number in range(2, 2 + round(5 * seconds))
    ]
    return conversation_pb2.PushRequest(conversation_id=talk.conversation_id, requests=batch)


TALKS = conversation_pb2.DESCRIPTOR.services_by_name["ConversationService"]
USERS = user_pb2.DESCRIPTOR.services_by_name["UserService"]


async def takes(one: Caller, client: str, deadline: float | None, most: float) -> None:
    """A call that would take ten seconds ends with its deadline, and not before."""
    async with unrecorded(one, "grpc-web") as talk:
        before = time.monotonic()
        error = await answer(
            one, client, TALKS.methods_by_name["Push"], recording(talk, 10), deadline=deadline
        )
        assert error is not None
        assert error.reason == "DEADLINE_EXCEEDED"
        assert time.monotonic() - before >= most


@tries("deadlines", "default_deadline_seconds", by=CALLED)
async def a_call_without_a_deadline_ends(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        await takes(one, client, None, DEFAULT_S)


@tries("deadlines", "max_deadline_seconds", by=CALLED)
async def a_call_with_a_long_deadline_ends_at_the_longest(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        await takes(one, client, 20.0, MOST_S)


@tries("deadlines", "max_stream_seconds", by=CALLED)
async def a_stream_lasts_so_long_and_no_longer(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        before = time.monotonic()
        async with unrecorded(one, client) as talk:
            assert await ends_with(talk) == "DEADLINE_EXCEEDED"
            assert time.monotonic() - before >= STREAM_S


# --- messages ----------------------------------------------------------------------------------

OVER = (ParleyError, StatusHiddenError, EOFError)
"""How a talk shows that it is over; a status that a write overtook is told by the notice alone."""


async def pong(talk: RawTalk | WebTalk) -> bool:
    """Tell whether a pong comes, rather than the notice that ends the talk."""
    async with asyncio.timeout(BOUND_S):
        while not (response := await talk.read()).notice.fatal:
            if response.HasField("pong"):
                return True
    return False


async def last_notice(talk: RawTalk | WebTalk) -> str:
    """Return the reason of the notice that the talk ends with."""
    with suppress(*OVER):
        async with asyncio.timeout(BOUND_S):
            while not talk.notices:
                await talk.read()
    return talk.notices[-1].reason


async def send_many(talk: RawTalk | WebTalk, count: int, **message: Any) -> None:
    """Send as many messages at once as there are."""
    if isinstance(talk, PushTalk):
        batch = [
            conversation_pb2.ConverseRequest(seq=talk.number(), **message) for _ in range(count)
        ]
        await talk.push(*batch)
    else:
        for _ in range(count):
            await talk.send(**message)


@tries("messages", "max_messages_per_second", "message_burst_seconds")
async def so_many_messages_are_taken_and_one_more_is_not(parley: Parley, client: str) -> None:
    burst = MESSAGES_A_SECOND * BURST_S
    async with parley.caller() as one, unrecorded(one, client) as talk:
        before = time.monotonic()
        await send_many(talk, burst, ping={"nonce": 1})
        for _ in range(burst):
            await talk.until("pong")
        assert not talk.notices
        more = 0
        with suppress(*OVER):
            await talk.send(ping={"nonce": 2})
            while await pong(talk):
                more += 1
                await talk.send(ping={"nonce": 2})
        assert await last_notice(talk) == "MESSAGES_TOO_FAST"
        # What time gave back meanwhile was taken as well.
        assert more <= MESSAGES_A_SECOND * (time.monotonic() - before)


@tries("audio", "max_audio_ahead_ms", "audio_held_back_seconds")
async def so_much_audio_is_taken_ahead_and_more_is_held_back(parley: Parley, client: str) -> None:
    """200 ms at a time: two are ahead, the third is waited for, the next would be too much."""
    pcm = bytes(2 * 48 * 200)
    async with parley.caller() as one, unrecorded(one, client) as talk:
        before = time.monotonic()
        await send_many(talk, AHEAD_MS // 200, audio={"pcm": pcm})
        await talk.send(ping={"nonce": 1})
        await talk.until("pong")
        assert not talk.notices
        sent_ms = AHEAD_MS
        with suppress(*OVER):
            taken = True
            while taken:
                sent_ms += 200
                await talk.send(audio={"pcm": pcm})
                await talk.send(ping={"nonce": 2})
                taken = await pong(talk)
                # What was taken is answered only when time has caught up.
                assert not taken or time.monotonic() - before >= (sent_ms - AHEAD_MS) / 1000
        assert await last_notice(talk) == "AUDIO_TOO_FAST"
        assert sent_ms > AHEAD_MS + 1000 * HELD_BACK_S


# --- what is kept for who comes back -----------------------------------------------------------


START = conversation_pb2.StartSession(engine="scripted", no_recording=True)


async def came_back(one: Caller, client: str, handle: str) -> list[int]:
    """Resume as one who has nothing; return the numbers of what is sent again."""
    seen: list[int] = []
    start = conversation_pb2.StartSession(resume_handle=handle)
    async with AsyncExitStack() as stack:
        talk: RawTalk | WebTalk
        if client == "native":
            talk = RawTalk(one)
            stack.callback(talk.call.cancel)
            await talk.open(start=start)
        else:
            way = WAYS["push" if client == "grpc-web" else client]
            talk = await stack.enter_async_context(way(one))
            talk.number()
            await talk.open(start)
            await talk.until("started")
        await talk.send(ping={"nonce": 99})
        async with asyncio.timeout(BOUND_S):
            while True:
                response = await talk.read()
                if response.pong.nonce == 99:
                    return seen
                seen.append(response.seq)


@tries("messages", "resume_buffer_messages")
async def so_many_messages_are_kept_and_one_more_is_the_oldest_gone(
    parley: Parley, client: str
) -> None:
    for more in (0, 1):
        async with parley.caller() as one, AsyncExitStack() as stack:
            talk: RawTalk | WebTalk
            if client == "native":
                talk = RawTalk(one)
                stack.callback(talk.call.cancel)
                first = await talk.open(start=START)
                handle = first.started.resume_handle
            else:
                way = WAYS["push" if client == "grpc-web" else client]
                talk = await stack.enter_async_context(way(one))
                handle = (await talk.start(no_recording=True)).resume_handle
            # `started` is the first that is kept.
            for _ in range(KEPT - 1 + more):
                await talk.send(ping={"nonce": 1})
                await talk.until("pong")
            assert await came_back(one, client, handle) == list(range(1 + more, KEPT + 1 + more))


# --- places ------------------------------------------------------------------------------------


@tries("few", "PARLEY_CONVERSATION_MAX_SESSIONS")
async def so_many_talk_at_once_and_one_more_does_not(parley: Parley, client: str) -> None:
    async with AsyncExitStack() as stack:
        held = 0
        async with asyncio.timeout(BOUND_S):
            while held < LIVE:
                one = await stack.enter_async_context(parley.caller())
                # A talk that has just ended keeps its place for a moment.
                with suppress(ParleyError):
                    await stack.enter_async_context(unrecorded(one, client))
                    held += 1
        one = await stack.enter_async_context(parley.caller())
        with pytest.raises(ParleyError) as caught:
            await stack.enter_async_context(unrecorded(one, client))
        assert caught.value.reason == "AT_CAPACITY"
        assert caught.value.retryable


@tries("places", "concurrent_calls")
async def so_many_calls_go_on_at_once_and_one_more_does_not(parley: Parley, client: str) -> None:
    async with parley.caller() as one, AsyncExitStack() as stack:
        held = 0
        async with asyncio.timeout(BOUND_S):
            while held < CALLS:
                # The gateway's question after the service's health has a place for a moment.
                with suppress(ParleyError):
                    await stack.enter_async_context(unrecorded(one, client))
                    held += 1
        if client == "websocket":
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(unrecorded(one, client))
            assert refused.value.response.status_code == 503
        else:
            with pytest.raises(ParleyError) as caught:
                await stack.enter_async_context(unrecorded(one, client))
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
            said = f"{caught.value.reason} {caught.value.message}"
            assert "TOO_MANY_CALLS" in said or "Concurrent RPC limit exceeded" in said


@tries("few", "sessions_per_user", by=CALLED)
async def an_account_has_so_many_sessions_and_one_more_ends_the_first(
    parley: Parley, client: str
) -> None:
    login = {"username": f"many-{new_id()[-12:]}", "password": "three odd words"}

    async def signed_in(method: str, kind: Any) -> str:
        """Register or sign in; return the access token."""
        request = getattr(user_pb2, f"{method}Request")(**login)
        path = f"/{USERS.full_name}/{method}"
        if client == "grpc-web":
            url = f"http://{parley.address}"
            async with httpx.AsyncClient(base_url=url, timeout=BOUND_S) as web:
                return str((await grpc_web.call(web, path, request)).one(kind).tokens.access_token)
        async with grpc.aio.insecure_channel(parley.address) as channel:
            build: Any = channel.unary_unary(path, type(request).SerializeToString, kind.FromString)
            return str((await build(request, timeout=BOUND_S)).tokens.access_token)

    async with parley.caller() as one:
        one.token = await signed_in("Register", user_pb2.RegisterResponse)
        for _ in range(SESSIONS - 1):
            await signed_in("Login", user_pb2.LoginResponse)
        listing = USERS.methods_by_name["ListSessions"]
        assert await answer(one, client, listing, user_pb2.ListSessionsRequest()) is None
        await signed_in("Login", user_pb2.LoginResponse)
        error = await answer(one, client, listing, user_pb2.ListSessionsRequest())
        assert error is not None
        assert error.reason == "SESSION_ENDED"


# --- clients on other machines -----------------------------------------------------------------

LIST_SCENARIOS = conversation_pb2.ListScenariosRequest()
NOBODY = iter(range(1, 60_000))


def address() -> str:
    """Return an address from which nobody came yet."""
    number = next(NOBODY)
    return f"198.18.{number // 256}.{number % 256}"


async def knocks(one: Caller, client: str) -> str:
    """Come once; return the reason of the refusal, if that is what came of it."""
    if client != "websocket":
        method, request = TALKS.methods_by_name["ListScenarios"], LIST_SCENARIOS
        error = await answer(one, client, method, request)
        return error.reason if error else ""
    try:
        async with WebSocketTalk(one) as talk:
            await talk.handshake()
            # Whatever is wrong with what it says, it was let in.
            assert talk.socket is not None
            with suppress(ConnectionClosed):
                await talk.socket.send("no message")
            reason = await ends_with(talk)
            return "" if reason == "MALFORMED_MESSAGE" else reason
    except InvalidStatus as refused:
        return {429: "CALLS_TOO_FAST"}[refused.response.status_code]


@tries("elsewhere", "calls_per_address_per_second", "call_burst_seconds")
async def so_many_calls_come_from_an_address_and_one_more_does_not(
    parley: Parley, client: str
) -> None:
    async with parley.caller(**{"x-forwarded-for": address()}) as one:
        came = [await knocks(one, client) for _ in range(OF_ADDRESS + 1)]
        assert came == [""] * OF_ADDRESS + ["CALLS_TOO_FAST"]
        one.besides["x-forwarded-for"] = address()
        assert await knocks(one, client) == ""


@tries("elsewhere", "calls_per_user_per_second")
async def so_many_calls_come_of_an_account_and_one_more_does_not(
    parley: Parley, client: str
) -> None:
    async with parley.caller() as one, parley.caller() as another:
        came = []
        for _ in range(OF_ACCOUNT + 1):
            one.besides["x-forwarded-for"] = another.besides["x-forwarded-for"] = address()
            came.append(await knocks(one, client))
        assert came == [""] * OF_ACCOUNT + ["CALLS_TOO_FAST"]
        assert await knocks(another, client) == ""


LOGIN = USERS.methods_by_name["Login"]
WRONG, RIGHT = "not the words", "three odd words"
FAILED, TOO_MANY = "BAD_CREDENTIALS", "TOO_MANY_ATTEMPTS"


async def login(one: Caller, client: str, name: str, password: str) -> str:
    """Try to sign in; return the reason of the refusal, if that is what comes of it."""
    request = user_pb2.LoginRequest(username=name, password=password)
    error = await answer(one, client, LOGIN, request)
    return error.reason if error else ""


async def account(parley: Parley) -> str:
    """Make an account at the service itself; return its name."""
    name = f"many-{new_id()[-12:]}"
    async with grpc.aio.insecure_channel(parley.town.addresses["user"]) as channel:
        request = user_pb2.RegisterRequest(username=name, password=RIGHT)
        await UserServiceStub(channel).Register(request, timeout=BOUND_S)
    return name


@tries("elsewhere", "login_name_factor", by=CALLED)
async def so_many_guesses_at_a_name_from_anywhere_and_one_more_waits(
    parley: Parley, client: str
) -> None:
    most, name = LOGIN_ATTEMPTS * DEFAULT_LIMITS.login_name_factor, await account(parley)
    async with parley.caller() as one:
        came = []
        for _ in range(most + 1):
            one.besides["x-forwarded-for"] = address()
            came.append(await login(one, client, name, WRONG))
        assert came == [FAILED] * most + [TOO_MANY]


@tries("elsewhere", "login_address_factor", by=CALLED)
async def so_many_guesses_from_an_address_and_one_more_waits(parley: Parley, client: str) -> None:
    most = LOGIN_ATTEMPTS * DEFAULT_LIMITS.login_address_factor
    async with parley.caller(**{"x-forwarded-for": address()}) as one:
        came = [await login(one, client, f"nobody-{new_id()[-12:]}", WRONG) for _ in range(most)]
        assert came == [FAILED] * most
        assert await login(one, client, await account(parley), RIGHT) == TOO_MANY


@tries("elsewhere", "login_tries_factor", "login_address_tries_factor", by=CALLED)
async def so_many_sign_ins_and_one_more_waits(parley: Parley, client: str) -> None:
    of_name = LOGIN_ATTEMPTS * DEFAULT_LIMITS.login_tries_factor
    in_all = LOGIN_ATTEMPTS * DEFAULT_LIMITS.login_address_tries_factor
    async with parley.caller(**{"x-forwarded-for": address()}) as one:
        for _ in range(in_all // of_name):
            name = await account(parley)
            came = [await login(one, client, name, RIGHT) for _ in range(of_name)]
            assert came == [""] * of_name
        assert await login(one, client, await account(parley), RIGHT) == TOO_MANY
        one.besides["x-forwarded-for"] = address()
        name = await account(parley)
        came = [await login(one, client, name, RIGHT) for _ in range(of_name + 1)]
        assert came == [""] * of_name + [TOO_MANY]


@tries("together", "concurrent_calls_per_user")
async def so_many_calls_of_an_account_go_on_and_one_more_does_not(
    parley: Parley, client: str
) -> None:
    async with parley.caller(**{"x-forwarded-for": address()}) as one, AsyncExitStack() as stack:
        for _ in range(TOGETHER):
            await stack.enter_async_context(unrecorded(one, client))
        with pytest.raises(ParleyError) as caught:
            await stack.enter_async_context(unrecorded(one, client))
        assert caught.value.reason == "TOO_MANY_CALLS"


# --- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parley", "client", "row"),
    [
        pytest.param(row.small, client, row, id=f"{' '.join(row.limits)}-{client}")
        for row in ROWS
        for client in row.clients
    ],
    indirect=["parley"],
)
async def test_a_client_comes_to_a_limit_and_not_past_it(parley: Parley, client: str, row: Row):
    await row.tried(parley, client)


TRIED = {limit: row.clients for row in ROWS for limit in row.limits}
"""By limit: the clients that come to it here."""
