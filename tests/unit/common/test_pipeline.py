"""Every call, of every kind, through a real server: identity, limits, errors, metrics."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import grpc
import pytest

from parley.conversation.v1 import conversation_pb2 as conversation
from parley.conversation.v1.conversation_pb2_grpc import ConversationServiceStub
from parley.user.v1 import user_pb2 as user
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common import call_context
from services.common.access import PUBLIC, USER, Access, service, user_or_service
from services.common.errors import FieldViolation, NotFound, ParleyError, Unavailable
from services.common.ids import new_id
from services.common.limits import DEFAULT_LIMITS
from services.common.service_identity import ServiceSigner
from services.common.status import from_rpc_error

LOGIN = user.LoginRequest(username="ada", password="correct horse")


async def failure(call: Any) -> ParleyError:
    """Return the error that a call ends with, as a client of ours sees it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            async for _ in call:
                pass
        else:
            await call
    return from_rpc_error(caught.value)


def ping(seq: int) -> conversation.ConverseRequest:
    return conversation.ConverseRequest(seq=seq, ping=conversation.Ping(nonce=seq))


async def pings(count: int) -> Any:
    for seq in range(1, count + 1):
        yield ping(seq)


async def raising(request: Any, context: Any) -> Any:
    raise NotFound(
        "No such thing.",
        reason="USER_NOT_FOUND",
        retry_after=1.5,
        fields=[FieldViolation("username", "is nobody's")],
        metadata={"colour": "blue"},
    )


async def raising_generator(request: Any, context: Any) -> Any:
    await raising(request, context)
    yield user.ExportDataResponse()


# --- failures -----------------------------------------------------------------------------------


async def test_an_error_reaches_the_client_whole_from_all_four_kinds(echo, serve_echo):
    for method in ("Login", "Upload", "Converse"):
        echo.handle(method, raising)
    echo.handle("ExportData", raising_generator)
    async with serve_echo() as (_, channel):
        users, talks = UserServiceStub(channel), ConversationServiceStub(channel)
        for call in (
            users.Login(LOGIN),
            users.ExportData(user.ExportDataRequest()),
            talks.Upload(iter(())),
            talks.Converse(pings(1)),
        ):
            error = await failure(call)
            assert isinstance(error, NotFound)
            assert (error.message, error.reason) == ("No such thing.", "USER_NOT_FOUND")
            assert error.retry_after == 1.5
            assert error.retryable
            assert error.fields == (FieldViolation("username", "is nobody's"),)
            assert error.metadata == {"colour": "blue"}


async def test_a_crash_tells_the_client_nothing_but_a_request_id(echo, serve_echo, capsys):
    async def crash(request: Any, context: Any) -> Any:
        raise KeyError("the learner's secret words")

    echo.handle("Login", crash)
    async with serve_echo() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(channel).Login(LOGIN, metadata=(("x-request-id", "abc-1"),))
    error = caught.value
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details()) + str(error.trailing_metadata())
    assert ("x-request-id", "abc-1") in tuple(error.trailing_metadata())


async def test_a_method_left_out_is_typed_unimplemented(echo, serve_echo):
    async with serve_echo() as (_, channel):
        error = await failure(UserServiceStub(channel).GetProfile(user.GetProfileRequest()))
        assert error.reason == "NOT_IMPLEMENTED"


async def test_a_dead_peer_behind_the_handler_is_unavailable_and_retryable(echo, serve_echo):
    async def ask_nobody(request: Any, context: Any) -> Any:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as nobody:
            return await UserServiceStub(nobody).Login(request)

    echo.handle("Login", ask_nobody)
    async with serve_echo() as (_, channel):
        error = await failure(UserServiceStub(channel).Login(LOGIN))
    assert isinstance(error, Unavailable)
    assert error.reason == "PEER_UNAVAILABLE"
    assert error.retryable


async def test_a_typed_error_inside_a_task_group_keeps_its_type(echo, serve_echo):
    async def grouped(request: Any, context: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(raising(request, context))

    echo.handle("Login", grouped)
    async with serve_echo() as (_, channel):
        assert (await failure(UserServiceStub(channel).Login(LOGIN))).reason == "USER_NOT_FOUND"


# --- both styles of streaming -------------------------------------------------------------------


async def test_reader_writer_and_generator_handlers_both_stream(echo, serve_echo):
    async def reading(_: Any, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(conversation.ConverseResponse(seq=message.seq))

    async def generating(request: Any, context: Any) -> Any:
        for index in range(3):
            yield user.ExportDataResponse(chunk=bytes([index]))

    async def iterating(requests: Any, context: Any) -> Any:
        last = 0
        async for message in requests:
            last = message.request.seq
        return conversation.UploadResponse(last_seq=last)

    echo.handle("Converse", reading)
    echo.handle("ExportData", generating)
    echo.handle("Upload", iterating)
    async with serve_echo() as (_, channel):
        talks = ConversationServiceStub(channel)
        assert [each.seq async for each in talks.Converse(pings(5))] == [1, 2, 3, 4, 5]
        export = UserServiceStub(channel).ExportData(user.ExportDataRequest())
        assert [each.chunk async for each in export] == [b"\0", b"\1", b"\2"]
        uploads = [conversation.UploadRequest(request=ping(seq)) for seq in (1, 2)]
        assert (await talks.Upload(iter(uploads))).last_seq == 2


async def test_a_generator_handler_is_closed_when_its_client_goes(echo, serve_echo):
    closed = asyncio.Event()

    async def endless(request: Any, context: Any) -> Any:
        try:
            while True:
                yield user.ExportDataResponse(chunk=b"x")
                await asyncio.sleep(0)
        finally:
            closed.set()

    echo.handle("ExportData", endless)
    async with serve_echo() as (_, channel):
        call = UserServiceStub(channel).ExportData(user.ExportDataRequest())
        await call.read()
        call.cancel()
        await asyncio.wait_for(closed.wait(), 5)


# --- validation ---------------------------------------------------------------------------------


async def test_every_broken_rule_of_a_unary_request_is_named(echo, serve_echo):
    async with serve_echo() as (_, channel):
        error = await failure(UserServiceStub(channel).Register(user.RegisterRequest(username="a")))
    assert error.reason == "INVALID_REQUEST"
    assert {each.field for each in error.fields} == {"username", "password"}


async def test_a_nested_field_is_named_by_its_path(echo, serve_echo):
    request = user.RegisterRequest(username="ada", password="long enough")
    request.profile.goals.extend(["fine", ""])
    async with serve_echo() as (_, channel):
        error = await failure(UserServiceStub(channel).Register(request))
    assert [each.field for each in error.fields] == ["profile.goals[1]"]


async def test_a_broken_message_in_a_stream_names_its_seq_and_the_stream_can_go_on(
    echo, serve_echo
):
    seen: list[object] = []

    async def tolerant(_: Any, context: Any) -> None:
        while True:
            try:
                message = await context.read()
            except ParleyError as error:
                seen.append((error.reason, error.metadata["seq"]))
                continue
            if message is grpc.aio.EOF:
                return
            seen.append(message.seq)

    async def requests() -> Any:
        yield ping(1)
        yield conversation.ConverseRequest(seq=2)  # no payload
        yield ping(3)

    echo.handle("Converse", tolerant)
    async with serve_echo() as (_, channel):
        async for _ in ConversationServiceStub(channel).Converse(requests()):
            pass
    assert seen == [1, ("INVALID_REQUEST", "2"), 3]


async def test_a_broken_message_ends_a_stream_whose_handler_does_not_care(echo, serve_echo):
    async def careless(requests: Any, context: Any) -> None:
        async for _ in requests:
            pass

    async def requests() -> Any:
        yield conversation.ConverseRequest(seq=9)

    echo.handle("Converse", careless)
    async with serve_echo() as (_, channel):
        error = await failure(ConversationServiceStub(channel).Converse(requests()))
    assert (error.reason, error.metadata) == ("INVALID_REQUEST", {"seq": "9"})


@pytest.mark.parametrize("method", ["/parley.user.v1.UserService/Login"])
async def test_bytes_that_are_no_message_are_malformed(echo, serve_echo, method):
    async with serve_echo() as (_, channel):
        error = await failure(channel.unary_unary(method)(b"\xff\xff\xff"))
    assert error.reason == "MALFORMED_MESSAGE"


async def test_bytes_that_are_no_message_in_a_stream_are_malformed(echo, serve_echo):
    async def careless(requests: Any, context: Any) -> None:
        async for _ in requests:
            pass

    echo.handle("Converse", careless)
    call = "/parley.conversation.v1.ConversationService/Converse"
    async with serve_echo() as (_, channel):
        error = await failure(channel.stream_stream(call)(iter([b"\xff\xff\xff"])))
    assert error.reason == "MALFORMED_MESSAGE"


async def test_a_message_over_the_stream_limit_is_refused_typed(echo, serve_echo):
    async def careless(requests: Any, context: Any) -> None:
        async for _ in requests:
            pass

    echo.handle("Converse", careless)
    limits = replace(DEFAULT_LIMITS, max_stream_message_bytes=1000)
    message = ping(1)
    message.text.text = "x" * 2000

    async def requests() -> Any:
        yield message

    async with serve_echo(limits) as (_, channel):
        error = await failure(ConversationServiceStub(channel).Converse(requests()))
    assert error.reason == "MESSAGE_TOO_LARGE"
    assert error.metadata == {"limit_bytes": "1000"}


async def test_ten_megabytes_are_refused_and_the_next_call_is_served(echo, serve_echo):
    async def hello(request: Any, context: Any) -> Any:
        return user.LoginResponse()

    echo.handle("Login", hello)
    huge = user.LoginRequest(username="a" * 10_000_000, password="x")
    async with serve_echo() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(channel).Login(huge)
        assert from_rpc_error(caught.value).reason == "MESSAGE_TOO_LARGE"
        await UserServiceStub(channel).Login(LOGIN)


# --- who calls ----------------------------------------------------------------------------------


async def whoami(request: Any, context: Any) -> Any:
    caller = call_context.caller_or_none()
    answer = user.LoginResponse()
    answer.account.user_id = caller.user_id if caller else ""
    answer.account.username = call_context.calling_service() or ""
    return answer


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def test_a_user_method_knows_its_caller(echo, serve_echo):
    echo.handle("Login", whoami, USER)
    async with serve_echo() as (_, channel):
        answer = await UserServiceStub(channel).Login(LOGIN, metadata=bearer(echo.token()))
    assert answer.account.user_id == "01900000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "TOKEN_MISSING"),
        ((("authorization", "Basic abc"),), "TOKEN_INVALID"),
        ((("authorization", "Bearer x.y.z"),), "TOKEN_INVALID"),
    ],
)
async def test_a_user_method_refuses_bad_credentials(echo, serve_echo, metadata, reason):
    echo.handle("Login", whoami, USER)
    async with serve_echo() as (_, channel):
        error = await failure(UserServiceStub(channel).Login(LOGIN, metadata=metadata))
    assert error.reason == reason


async def test_an_expired_token_is_told_apart(echo, serve_echo):
    echo.handle("Login", whoami, USER)
    token = echo.token()
    async with serve_echo() as (_, channel):
        stub = UserServiceStub(channel)
        await stub.Login(LOGIN, metadata=bearer(token))
        await echo.clock.advance(700)
        error = await failure(stub.Login(LOGIN, metadata=bearer(token)))
    assert error.reason == "TOKEN_EXPIRED"


async def test_streams_ask_for_a_token_too(echo, serve_echo):
    async def never(_: Any, context: Any) -> None:
        raise AssertionError("must not be reached")

    echo.handle("Converse", never, USER)
    async with serve_echo() as (_, channel):
        error = await failure(ConversationServiceStub(channel).Converse(pings(1)))
    assert error.reason == "TOKEN_MISSING"


@pytest.mark.parametrize(
    ("access", "name", "callee", "reason"),
    [
        (service("history"), "history", "echo", None),
        (user_or_service("history"), "history", "echo", None),
        (service("history"), "media", "echo", "SERVICE_IDENTITY_REQUIRED"),
        (service("history"), "history", "other", "SERVICE_IDENTITY_INVALID"),
    ],
)
async def test_internal_methods_take_the_named_services_alone(
    echo, serve_echo, settings, access, name, callee, reason
):
    echo.handle("Login", whoami, access)
    signer = ServiceSigner.open(name, settings.keys_dir / "services", echo.clock)
    async with serve_echo() as (_, channel):
        call = UserServiceStub(channel).Login(LOGIN, metadata=(signer.metadata(callee),))
        if reason is None:
            assert (await call).account.username == name
        else:
            assert (await failure(call)).reason == reason


async def test_an_internal_method_refuses_a_learner(echo, serve_echo):
    echo.handle("Login", whoami, service("history"))
    async with serve_echo() as (_, channel):
        call = UserServiceStub(channel).Login(LOGIN, metadata=bearer(echo.token()))
        assert (await failure(call)).reason == "SERVICE_IDENTITY_REQUIRED"


async def test_a_service_brings_the_learner_along(echo, serve_echo, settings):
    echo.handle("Login", whoami, service("history"))
    signer = ServiceSigner.open("history", settings.keys_dir / "services", echo.clock)
    metadata = (signer.metadata("echo"), *bearer(echo.token()))
    async with serve_echo() as (_, channel):
        answer = await UserServiceStub(channel).Login(LOGIN, metadata=metadata)
    assert answer.account.user_id
    assert answer.account.username == "history"


async def test_a_public_method_is_not_held_up_by_a_stale_token(echo, serve_echo):
    echo.handle("Login", whoami, PUBLIC)
    async with serve_echo() as (_, channel):
        await UserServiceStub(channel).Login(LOGIN, metadata=bearer("stale"))


async def test_a_rule_that_admits_nobody_denies(echo, serve_echo):
    echo.handle("Login", whoami, Access())
    async with serve_echo() as (_, channel):
        call = UserServiceStub(channel).Login(LOGIN, metadata=bearer(echo.token()))
        assert isinstance(await failure(call), ParleyError)


# --- request id, deadline, metrics --------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", True), ("has space", False), ("x" * 129, False)]
)
@pytest.mark.parametrize("fails", [True, False])
async def test_a_request_id_is_taken_or_made_and_comes_back(echo, serve_echo, given, kept, fails):
    seen: list[str] = []

    async def note(request: Any, context: Any) -> Any:
        seen.append(call_context.request_id())
        if fails:
            raise NotFound("Gone.", reason="USER_NOT_FOUND")

    echo.handle("Login", note)
    echo.handle("Converse", note)
    metadata = (("x-request-id", given),)
    async with serve_echo() as (_, channel):
        # Nothing is written: a write that races with a refusal hides its metadata.
        stream = ConversationServiceStub(channel).Converse(metadata=metadata)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stream.read()
        returned = [dict(await stream.trailing_metadata())["x-request-id"]]
        if fails:
            call = UserServiceStub(channel).Login(LOGIN, metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            returned.append(dict(caught.value.trailing_metadata() or ())["x-request-id"])
    assert seen == returned
    assert all((each == given) is kept for each in returned)


async def test_a_unary_call_without_a_deadline_gets_one(echo, serve_echo):
    left: list[float | None] = []

    async def hang(request: Any, context: Any) -> Any:
        left.append(call_context.remaining_seconds())
        await asyncio.Event().wait()

    echo.handle("Login", hang)
    limits = replace(DEFAULT_LIMITS, default_deadline_seconds=0.1)
    async with serve_echo(limits) as (_, channel):
        error = await failure(UserServiceStub(channel).Login(LOGIN))
    assert error.reason == "DEADLINE_EXCEEDED"
    assert error.retryable
    assert left[0] is not None
    assert 0 < left[0] <= 0.1


async def test_the_callers_deadline_ends_the_handler(echo, serve_echo):
    ended = asyncio.Event()

    async def hang(request: Any, context: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    echo.handle("Login", hang)
    async with serve_echo() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(channel).Login(LOGIN, timeout=0.05)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_deadline_longer_than_is_allowed_is_shortened(echo, serve_echo):
    async def hang(request: Any, context: Any) -> Any:
        await asyncio.Event().wait()

    echo.handle("Login", hang)
    limits = replace(DEFAULT_LIMITS, max_deadline_seconds=0.1)
    async with serve_echo(limits) as (_, channel):
        error = await failure(UserServiceStub(channel).Login(LOGIN, timeout=60))
    assert error.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("asked", [None, 60.0], ids=["no deadline", "a longer one"])
async def test_a_stream_ends_as_well_whatever_its_client_asks(echo, serve_echo, asked):
    left: list[float | None] = []

    async def hang(request_iterator: Any, context: Any) -> None:
        left.append(call_context.remaining_seconds())
        await asyncio.Event().wait()

    echo.handle("Converse", hang)
    limits = replace(DEFAULT_LIMITS, max_stream_seconds=0.1)
    async with serve_echo(limits) as (_, channel):
        call = ConversationServiceStub(channel).Converse(timeout=asked)
        error = await failure(call.read())
    assert error.reason == "DEADLINE_EXCEEDED"
    # A conversation goes on when its stream ends: only what the caller asked binds what it began.
    assert (left[0] is None) is (asked is None)


async def test_n_calls_of_an_account_go_on_and_one_more_does_not_before_one_has_ended(
    echo, serve_echo
):
    """One account's idle streams took every place there was."""
    begun = asyncio.Semaphore(0)

    async def hang(request_iterator: Any, context: Any) -> None:
        begun.release()
        await context.read()

    echo.handle("Converse", hang, USER)
    token = ("authorization", f"Bearer {echo.token()}")
    elsewhere = ("x-parley-client-address", "203.0.113.7")
    limits = replace(DEFAULT_LIMITS, concurrent_calls_per_user=2)
    async with serve_echo(limits) as (_, channel):
        stub = ConversationServiceStub(channel)
        held = [stub.Converse(metadata=(token, elsewhere)) for _ in range(2)]
        for _ in held:
            await begun.acquire()
        error = await failure(stub.Converse(metadata=(token, elsewhere)).read())
        assert (error.reason, error.retry_after) == ("TOO_MANY_CALLS", 1.0)
        # This machine's own are not counted.
        here = stub.Converse(metadata=(token,))
        await begun.acquire()
        other = ("authorization", f"Bearer {echo.token(sub=new_id())}")
        another = stub.Converse(metadata=(other, elsewhere))
        await begun.acquire()
        await held[0].done_writing()
        assert await held[0].read() is grpc.aio.EOF
        held[0] = stub.Converse(metadata=(token, elsewhere))
        await begun.acquire()
        for each in (*held, here, another):
            await each.done_writing()
            assert await each.read() is grpc.aio.EOF


async def test_a_stream_within_its_time_is_not_ended(echo, serve_echo):
    async def soon(request_iterator: Any, context: Any) -> None:
        await context.write(conversation.ConverseResponse(seq=1))

    echo.handle("Converse", soon)
    async with serve_echo() as (_, channel):
        call = ConversationServiceStub(channel).Converse()
        assert (await call.read()).seq == 1
        assert await call.read() is grpc.aio.EOF


async def test_the_callers_deadline_is_known_below(echo, serve_echo):
    left: list[float | None] = []

    async def note(request: Any, context: Any) -> Any:
        left.append(call_context.remaining_seconds())
        return user.LoginResponse()

    echo.handle("Login", note)
    async with serve_echo() as (_, channel):
        await UserServiceStub(channel).Login(LOGIN, timeout=3)
    assert left[0] is not None
    assert 0 < left[0] < 4  # gRPC rounds deadlines up


async def test_calls_are_counted_by_method_and_code(echo, serve_echo):
    async def fine(request: Any, context: Any) -> Any:
        return user.LoginResponse()

    echo.handle("Login", fine)
    echo.handle("Refresh", raising)
    async with serve_echo() as (service_, channel):
        stub = UserServiceStub(channel)
        await stub.Login(LOGIN)
        await failure(stub.Refresh(user.RefreshRequest()))
        await failure(channel.unary_unary("/parley.user.v1.UserService/Nonsense")(b""))
        value = service_.runtime.metrics.registry.get_sample_value
        base = "/parley.user.v1.UserService"
        handled = "parley_rpc_handled_total"
        assert value(handled, {"method": f"{base}/Login", "code": "OK"}) == 1
        assert value(handled, {"method": f"{base}/Refresh", "code": "NOT_FOUND"}) == 1
        assert value("parley_rpc_in_flight", {"method": f"{base}/Login"}) == 0
        assert value(handled, {"method": f"{base}/Nonsense", "code": "UNIMPLEMENTED"}) is None


async def test_a_client_that_goes_is_counted_as_cancelled(echo, serve_echo):
    entered, left = asyncio.Event(), asyncio.Event()

    async def hang(request: Any, context: Any) -> Any:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    echo.handle("Login", hang)
    async with serve_echo() as (service_, channel):
        call = UserServiceStub(channel).Login(LOGIN)
        await entered.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await asyncio.wait_for(left.wait(), 5)
        await asyncio.sleep(0)
        labels = {"method": "/parley.user.v1.UserService/Login", "code": "CANCELLED"}
        value = service_.runtime.metrics.registry.get_sample_value
        assert value("parley_rpc_handled_total", labels) == 1


async def test_calls_do_not_see_each_others_context(echo, serve_echo):
    both = asyncio.Barrier(2)
    seen: dict[str, str] = {}

    async def meet(request: Any, context: Any) -> Any:
        await both.wait()
        seen[request.username] = call_context.request_id()
        return user.LoginResponse()

    echo.handle("Login", meet)
    async with serve_echo() as (_, channel):
        stub = UserServiceStub(channel)
        await asyncio.gather(
            *(
                stub.Login(
                    user.LoginRequest(username=name, password="x"),
                    metadata=(("x-request-id", f"id-{name}"),),
                )
                for name in ("ada", "bob")
            )
        )
    assert seen == {"ada": "id-ada", "bob": "id-bob"}
