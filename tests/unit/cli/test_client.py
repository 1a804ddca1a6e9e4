"""Signing in, staying signed in, and coming back after a broken connection."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from pathlib import Path

import grpc
import pytest

from parley.conversation.v1 import conversation_pb2
from parley.user.v1 import user_pb2
from parley_cli.client.converse import ConverseStream
from parley_cli.client.credentials import Credentials, CredentialStore
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import (
    CliFailure,
    ExitCode,
    failure_from_error,
    refusal_from_error,
    refusal_from_status,
)
from tests.unit.cli.conftest import PASSWORD
from tests.unit.cli.fake_parley import REPLY, FakeParley, status_of


def client_of(address: str, folder: Path) -> ParleyClient:
    return ParleyClient(parse_endpoint(address), store=CredentialStore(folder))


async def profile(client: ParleyClient) -> str:
    found = await client.call(client.user.GetProfile, user_pb2.GetProfileRequest())
    return found.account.username


async def test_a_sign_in_outlives_the_client(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
    async with client_of(address, tmp_path) as client:
        assert await profile(client) == "ana"
    assert fake.logins == 0


async def test_a_token_is_renewed_before_it_expires(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    fake.access_lifetime_s = 20
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        fake.access_lifetime_s = 600
        assert await profile(client) == "ana"
        assert await profile(client) == "ana"
    assert fake.refreshes == 1


async def test_a_refused_token_is_renewed_once_and_the_call_made_again(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        fake.valid_tokens.clear()
        assert await profile(client) == "ana"
    assert fake.refreshes == 1


async def test_calls_at_the_same_time_spend_one_refresh_token(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        fake.valid_tokens.clear()
        await asyncio.gather(*(profile(client) for _ in range(8)))
    assert fake.refreshes == 1


async def test_two_commands_at_the_same_time_spend_one_refresh_token(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    """Using a refresh token twice ends the sign-in, so the second command must see the first's."""
    async with client_of(address, tmp_path) as one:
        await one.register("ana", PASSWORD)
        async with client_of(address, tmp_path) as two:
            fake.valid_tokens.clear()
            assert await asyncio.gather(profile(one), profile(two)) == ["ana", "ana"]
    assert fake.refreshes == 1


async def test_a_spent_refresh_token_ends_the_sign_in_with_advice(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        fake.valid_tokens.clear()
        fake.refresh_tokens.clear()
        with pytest.raises(CliFailure) as caught:
            await profile(client)
    assert caught.value.exit_code is ExitCode.NOT_SIGNED_IN
    assert "parley login" in caught.value.advice
    assert CredentialStore(tmp_path).load(address) is None


async def test_logging_out_forgets_and_tells_the_server(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        assert await client.logout()
        assert not await client.logout()
    assert (fake.logouts, fake.refresh_tokens) == (1, set())


async def read_to(stream: ConverseStream, kind: str) -> list[conversation_pb2.ConverseResponse]:
    found = []
    async for response in stream:
        found.append(response)
        if response.HasField(kind):
            break
    return found


async def test_a_lost_connection_is_resumed_and_nothing_comes_twice(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    connection: list[bool] = []
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        start = conversation_pb2.StartSession(engine="flaky")
        async with client.converse(start, on_connection=connection.append) as stream:
            await stream.send_text("Hello!")
            got = await read_to(stream, "started")
            while sum(r.HasField("reply_audio") for r in got) < 33:
                got += await read_to(stream, "reply_audio")
    assert connection == [False, True]
    assert [s.resume_handle for s in fake.starts] == ["", "handle-1"]
    offsets = [r.reply_audio.offset_ms for r in got if r.HasField("reply_audio")]
    assert offsets == list(range(0, 33 * 40, 40))


async def test_audio_that_a_lost_connection_swallowed_is_sent_again(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        async with client.converse(conversation_pb2.StartSession(engine="forgetful")) as stream:
            for frame in range(20):
                await stream.send_audio(b"\0\0" * 320, frame * 320)
            await read_to(stream, "started")
            await read_to(stream, "started")
            await stream.ping(1)
            await read_to(stream, "pong")
    received = [r.audio.first_sample for r in fake.requests["audio"]]
    assert received == [frame * 320 for frame in range(20)]


async def test_a_session_that_is_refused_says_why_and_when_to_come_back(
    address: str, tmp_path: Path
) -> None:
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        with pytest.raises(CliFailure) as caught:
            async with client.converse(conversation_pb2.StartSession(engine="full")):
                pass
    assert (caught.value.message, caught.value.advice) == (
        "All places are taken.",
        "Try again in 7 s.",
    )


async def test_an_expired_token_at_the_start_of_a_session_is_renewed(
    fake: FakeParley, address: str, tmp_path: Path
) -> None:
    async with client_of(address, tmp_path) as client:
        await client.register("ana", PASSWORD)
        fake.valid_tokens.clear()
        async with client.converse(conversation_pb2.StartSession(captions_only=True)) as stream:
            await stream.send_text("Hello!")
            responses = await read_to(stream, "reply_ended")
    assert fake.refreshes == 1
    assert responses[-1].reply_ended.heard_text == REPLY


async def test_no_server_is_told_with_its_address(tmp_path: Path) -> None:
    async with client_of("127.0.0.1:1", tmp_path) as client:
        with pytest.raises(CliFailure) as caught:
            await client.login("ana", PASSWORD)
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert "127.0.0.1:1" in caught.value.message


# -- what is kept ---------------------------------------------------------------------------------

CREDENTIALS = Credentials("ana", "u", "secret-access", time.time(), "secret-refresh", time.time())


def test_credentials_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path / "new")
    store.save("a:1", CREDENTIALS)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert [p.name for p in store.path.parent.iterdir()] == ["credentials.json"]


def test_servers_do_not_share_a_sign_in(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    store.save("a:1", CREDENTIALS)
    assert store.load("b:1") is None
    store.forget("b:1")
    assert store.load("a:1") == CREDENTIALS
    store.forget("a:1")
    assert store.load("a:1") is None


@pytest.mark.parametrize(
    "content", ["", "not json", "[]", '{"servers": 3}', '{"servers": {"a:1": {"username": "x"}}}']
)
def test_a_damaged_file_means_signing_in_again(tmp_path: Path, content: str) -> None:
    store = CredentialStore(tmp_path)
    store.path.write_text(content)
    assert store.load("a:1") is None
    store.save("a:1", CREDENTIALS)
    assert json.loads(store.path.read_text())["servers"]["a:1"]["username"] == "ana"


def test_tokens_do_not_show_in_what_is_printed_of_them() -> None:
    assert "secret" not in repr(CREDENTIALS)


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target", "tls"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080", False),
        ("localhost", "localhost:8080", False),
        ("http://localhost:9000/", "localhost:9000", False),
        ("[::1]:9000", "[::1]:9000", False),
        ("https://parley.example", "parley.example:443", True),
        ("https://parley.example:8443", "parley.example:8443", True),
    ],
)
def test_addresses_as_people_write_them(text: str, target: str, tls: bool) -> None:
    endpoint = parse_endpoint(text)
    assert (endpoint.target, endpoint.tls) == (target, tls)


@pytest.mark.parametrize("text", ["", ":8080", "host:port", "host:0", "host:70000", "a/b:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(CliFailure, match="not a server address"):
        parse_endpoint(text)


def test_a_password_never_crosses_a_network_in_the_clear_unasked() -> None:
    with pytest.raises(CliFailure, match="not encrypted"):
        parse_endpoint("parley.example:8080")
    assert not parse_endpoint("parley.example:8080", plaintext=True).tls
    assert parse_endpoint("parley.example:8080", tls=True).tls


# -- refusals -------------------------------------------------------------------------------------


def test_a_status_gives_up_all_its_details() -> None:
    refusal = refusal_from_status(
        status_of(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            "A field is wrong.",
            retry_after_s=1.5,
            violations={"password": "too short"},
        )
    )
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "INVALID_REQUEST"
    assert refusal.retry_after_s == 1.5
    assert refusal.violations == (("password", "too short"),)
    assert refusal.metadata == {"request_id": "r-1"}


def bare(text: str) -> grpc.aio.AioRpcError:
    """A refusal of gRPC itself: no code of Parley's has seen it."""
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, nothing, nothing, text)


@pytest.mark.parametrize(
    "text",
    [
        "CLIENT: Sent message larger than max (6291462 vs. 4194304)",
        "SERVER: Received message larger than max (6291462 vs. 4194304)",
        "received metadata size exceeds hard limit (value length 20000 vs. 16384)",
    ],
)
def test_what_is_too_large_is_said_and_not_tried_again(text: str) -> None:
    refusal = refusal_from_error(bare(text))
    assert (refusal.reason, refusal.retryable) == ("MESSAGE_TOO_LARGE", False)
    failure = failure_from_error(bare(text))
    assert failure.message == "The message is larger than Parley takes."
    assert "Send less" in failure.advice
    assert failure.exit_code is ExitCode.FAILED


def test_a_server_with_too_many_calls_is_asked_again_later() -> None:
    error = bare("Concurrent RPC limit exceeded!")
    assert refusal_from_error(error).retryable
    failure = failure_from_error(error)
    assert failure.message == "Parley has as many calls in progress as it takes."
    assert failure.advice == "Try again in 1 s."


def test_any_other_bare_refusal_is_told_in_its_own_words() -> None:
    refusal = refusal_from_error(bare("No room."))
    assert (refusal.message, refusal.reason, refusal.retryable) == ("No room.", "", False)
