"""Native gRPC through a real Envoy."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, TypeVar

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parley.ai.v1 import ai_pb2_grpc
from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.history.v1 import history_pb2, history_pb2_grpc
from parley.media.v1 import media_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc
from tests.integration.gateway.conftest import Edge
from tests.integration.gateway.tokens import Tokens

pytestmark = pytest.mark.asyncio(loop_scope="package")

M = TypeVar("M", bound=Message)


def details_of(error: grpc.aio.AioRpcError, kind: type[M]) -> M:
    """The message of this kind in the error's details; an empty one when there is none."""
    found = kind()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status = Status.FromString(value)
            assert status.code == error.code().value[0]
            for detail in status.details:
                detail.Unpack(found)
                if detail.TypeName() == found.DESCRIPTOR.full_name:
                    return found
    return kind()


def reason_of(error: grpc.aio.AioRpcError) -> str:
    return details_of(error, ErrorInfo).reason


async def seen_by_user_service(edge: Edge, metadata: Any) -> dict[str, str]:
    async with edge.channel() as channel:
        response = await user_pb2_grpc.UserServiceStub(channel).GetProfile(
            user_pb2.GetProfileRequest(), metadata=metadata, timeout=5
        )
    seen: dict[str, str] = json.loads(response.account.username)
    return seen


async def refusal_of_profile(edge: Edge, metadata: Any = ()) -> grpc.aio.AioRpcError:
    async with edge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await user_pb2_grpc.UserServiceStub(channel).GetProfile(
                user_pb2.GetProfileRequest(), metadata=metadata, timeout=5
            )
    return caught.value


class TestTokens:
    async def test_no_token_is_refused_with_its_reason(self, edge: Edge):
        error = await refusal_of_profile(edge)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert reason_of(error) == "TOKEN_MISSING"

    async def test_what_is_no_token_is_refused(self, edge: Edge):
        error = await refusal_of_profile(edge, (("authorization", "Bearer nonsense"),))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert reason_of(error) == "TOKEN_INVALID"

    async def test_a_token_of_another_signer_is_refused(self, edge: Edge):
        forged = Tokens(kid=edge.tokens.kid).access()
        error = await refusal_of_profile(edge, (("authorization", f"Bearer {forged}"),))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert reason_of(error) == "TOKEN_INVALID"

    async def test_an_expired_token_tells_the_client_to_refresh(self, edge: Edge):
        expired = edge.metadata(exp=int(time.time()) - 60)
        error = await refusal_of_profile(edge, expired)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert reason_of(error) == "TOKEN_EXPIRED"

    async def test_a_token_for_another_audience_is_refused(self, edge: Edge):
        error = await refusal_of_profile(edge, edge.metadata(aud="history"))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert reason_of(error) == "TOKEN_INVALID"

    async def test_a_good_token_reaches_the_service_which_verifies_it_again(self, edge: Edge):
        metadata = edge.metadata()
        seen = await seen_by_user_service(edge, metadata)
        assert seen["authorization"] == metadata[0][1]

    async def test_a_new_key_is_taken_up(self, edge: Edge):
        rotated = Tokens(kid="second")
        old = json.loads(edge.jwks.document)
        both = {"keys": [*old["keys"], *json.loads(rotated.jwks())["keys"]]}
        edge.jwks.document = json.dumps(both)
        metadata = (("authorization", f"Bearer {rotated.access()}"),)
        async with edge.channel() as channel, asyncio.timeout(10):
            stub = user_pb2_grpc.UserServiceStub(channel)
            refused = ["TOKEN_INVALID"]
            while refused:
                refused = []
                try:
                    await stub.GetProfile(user_pb2.GetProfileRequest(), metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    refused = [reason_of(error)]
                    await asyncio.sleep(0.1)
                assert refused in ([], ["TOKEN_INVALID"])

    async def test_login_needs_no_token(self, edge: Edge):
        async with edge.channel() as channel:
            response = await user_pb2_grpc.UserServiceStub(channel).Login(
                user_pb2.LoginRequest(username="ana", password="secret"), timeout=5
            )
        assert response.account.username == "ana"

    async def test_an_expired_token_does_not_hinder_what_needs_none(self, edge: Edge):
        expired = edge.metadata(exp=int(time.time()) - 60)
        async with edge.channel() as channel:
            response = await user_pb2_grpc.UserServiceStub(channel).Login(
                user_pb2.LoginRequest(username="ana", password="secret"),
                metadata=expired,
                timeout=5,
            )
        assert response.account.username == "ana"


class TestHeaders:
    async def test_names_that_only_parley_may_set_are_taken_away(self, edge: Edge):
        forged = (
            ("x-parley-service-authorization", "Bearer forged"),
            ("x-parley-user-id", "somebody else"),
            ("x-parley-session-id", "another"),
        )
        seen = await seen_by_user_service(edge, (*edge.metadata(), *forged))
        assert not {name for name, _ in forged} & set(seen)

    async def test_the_request_id_is_the_gateways_own(self, edge: Edge):
        seen = await seen_by_user_service(edge, (*edge.metadata(), ("x-request-id", "mine")))
        assert len(seen["x-request-id"]) == 36

    async def test_the_log_holds_no_token_and_no_query(self, edge: Edge):
        metadata = edge.metadata()
        await seen_by_user_service(edge, metadata)
        async with edge.channel() as channel:
            call: Any = channel.unary_unary(
                "/parley.user.v1.UserService/GetProfile?secret=tellnobody"
            )
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"", metadata=metadata, timeout=5)
        async with asyncio.timeout(10):
            while True:
                lines = edge.log.read_text().splitlines()
                entries = [json.loads(line) for line in lines if '"event":"access"' in line]
                if any(e["path"].endswith("GetProfile") for e in entries):
                    break
                await asyncio.sleep(0.1)
        assert metadata[0][1].removeprefix("Bearer ") not in edge.log.read_text()
        assert "tellnobody" not in edge.log.read_text()


class TestRoutes:
    async def test_an_internal_unary_method_does_not_exist_from_outside(self, edge: Edge):
        async with edge.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await history_pb2_grpc.HistoryServiceStub(channel).Ingest(
                    history_pb2.IngestRequest(), metadata=edge.metadata(), timeout=5
                )
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert reason_of(caught.value) == "NOT_IMPLEMENTED"

    @pytest.mark.parametrize(
        ("stub", "method"),
        [(media_pb2_grpc.MediaServiceStub, "Record"), (ai_pb2_grpc.AiServiceStub, "Converse")],
    )
    async def test_an_internal_stream_does_not_exist_from_outside(
        self, edge: Edge, stub: Any, method: str
    ):
        async with edge.channel() as channel:
            call = getattr(stub(channel), method)(metadata=edge.metadata(), timeout=5)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert reason_of(caught.value) == "NOT_IMPLEMENTED"

    async def test_reflection_is_off(self, edge: Edge):
        async with edge.channel() as channel:
            path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            method: Any = channel.stream_stream(path)
            call = method(timeout=5)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    @pytest.mark.parametrize("service", ["user", "conversation", "ai", "history", "media", None])
    async def test_health_is_public_for_every_service(self, edge: Edge, service: str | None):
        metadata = (("x-parley-service", service),) if service else ()
        async with edge.channel() as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            response = await stub.Check(
                health_pb2.HealthCheckRequest(), metadata=metadata, timeout=5
            )
        assert response.status == health_pb2.HealthCheckResponse.SERVING


class TestStreams:
    async def test_a_bidirectional_stream_answers_message_by_message(self, edge: Edge):
        async with edge.channel() as channel:
            stub = conversation_pb2_grpc.ConversationServiceStub(channel)
            call = stub.Converse(metadata=edge.metadata())
            for number in range(1, 6):
                ping = conversation_pb2.Ping(nonce=number)
                await call.write(conversation_pb2.ConverseRequest(seq=number, ping=ping))
                response: Any = await asyncio.wait_for(call.read(), 5)
                assert response.pong.nonce == number
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK

    async def test_a_stream_outlives_the_limit_of_unary_calls(self, edge: Edge):
        async with edge.channel() as channel:
            stub = conversation_pb2_grpc.ConversationServiceStub(channel)
            call = stub.Subscribe(conversation_pb2.SubscribeRequest(), metadata=edge.metadata())
            started = time.monotonic()
            async for _ in call:
                if time.monotonic() - started > edge.settings.unary_timeout_seconds + 1:
                    break
            else:
                pytest.fail("the stream was cut")
            call.cancel()

    async def test_a_cancelled_stream_ends_in_the_service_too(self, edge: Edge):
        service = edge.upstreams["conversation"].servicer
        async with edge.channel() as channel:
            stub = conversation_pb2_grpc.ConversationServiceStub(channel)
            call = stub.Subscribe(conversation_pb2.SubscribeRequest(), metadata=edge.metadata())
            await call.read()
            assert service.live == 1
            call.cancel()
            async with asyncio.timeout(5):
                while service.live:
                    await asyncio.sleep(0.01)


class TestFailures:
    async def test_ten_megabytes_are_refused_as_too_much(self, edge: Edge):
        request = user_pb2.LoginRequest(username="x" * 10_000_000)
        async with edge.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await user_pb2_grpc.UserServiceStub(channel).Login(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_ten_megabytes_in_a_stream_are_refused_as_too_much(self, edge: Edge):
        audio = conversation_pb2.LearnerAudio(pcm=bytes(10_000_000))
        async with edge.channel() as channel:
            stub = conversation_pb2_grpc.ConversationServiceStub(channel)
            call = stub.Converse(metadata=edge.metadata())
            await call.write(conversation_pb2.ConverseRequest(audio=audio))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call.read(), 5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_what_changes_nothing_is_tried_again(self, edge: Edge):
        edge.upstreams["user"].servicer.refusals = 1
        await seen_by_user_service(edge, edge.metadata())

    async def test_what_changes_something_is_tried_once(self, edge: Edge):
        service = edge.upstreams["user"].servicer
        before = service.calls
        async with edge.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await user_pb2_grpc.UserServiceStub(channel).UpdateProfile(
                    user_pb2.UpdateProfileRequest(), metadata=edge.metadata(), timeout=5
                )
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert service.calls == before + 1

    async def test_a_dead_service_is_told_at_once_and_comes_back(self, edge: Edge):
        history = edge.upstreams["history"]
        await history.stop()
        try:
            for state in ("just now", "known"):
                started = time.monotonic()
                async with edge.channel() as channel:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await history_pb2_grpc.HistoryServiceStub(channel).ListConversations(
                            history_pb2.ListConversationsRequest(),
                            metadata=edge.metadata(),
                            timeout=5,
                        )
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, state
                assert reason_of(caught.value) == "PEER_UNAVAILABLE"
                retry = details_of(caught.value, RetryInfo).retry_delay
                assert retry.ToMilliseconds() == 1_000
                assert time.monotonic() - started < 2
                await edge.until("history", "failing")
        finally:
            await history.start()
        await edge.until("history", "healthy")
        async with edge.channel() as channel:
            await history_pb2_grpc.HistoryServiceStub(channel).ListConversations(
                history_pb2.ListConversationsRequest(), metadata=edge.metadata(), timeout=5
            )

    async def test_a_service_that_dies_in_a_stream_ends_it_at_once(self, edge: Edge):
        """Envoy can only reset a stream that has begun: a bare INTERNAL, without details.

        That is how a client tells it from a bug in a service, whose INTERNAL has details.
        """
        async with edge.channel() as channel:
            stub = conversation_pb2_grpc.ConversationServiceStub(channel)
            call = stub.Converse(metadata=edge.metadata())
            await call.write(conversation_pb2.ConverseRequest(seq=1))
            await call.read()
            edge.wire.cut()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call.read(), 5)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert reason_of(caught.value) == ""
        await edge.until("conversation", "healthy")
