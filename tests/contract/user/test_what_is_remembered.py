"""What the service remembers of accounts is never behind what it was told itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt
import pytest

from parley.user.v1 import user_pb2 as pb
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.lifecycle import running
from services.user.bootstrap import bootstrap
from tests.contract.user.conftest import NEW_PASSWORD, PASSWORD, Users, bearer

OWN = [
    ("GetProfile", pb.GetProfileRequest()),
    ("UpdateProfile", pb.UpdateProfileRequest(account=pb.Account(voice="amy"))),
    ("ChangePassword", pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)),
    ("ListSessions", pb.ListSessionsRequest()),
]


@asynccontextmanager
async def another_process(users: Users, **changes: Any) -> AsyncIterator[Users]:
    """A second user service on the same database, with a memory of its own."""
    settings = users.settings.model_copy(update=changes)
    async with (
        running("user", settings, bootstrap, clock=users.clock) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        yield Users(UserServiceStub(channel), channel, service, users.clock, settings)


async def login(users: Users, device: str = "") -> pb.TokenPair:
    request = pb.LoginRequest(username="Ada", password=PASSWORD, device_name=device)
    tokens: pb.TokenPair = (await users.stub.Login(request)).tokens
    return tokens


async def profile(users: Users, tokens: pb.TokenPair) -> pb.Account:
    answer = await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(tokens))
    account: pb.Account = answer.account
    return account


async def set_voice(users: Users, tokens: pb.TokenPair, voice: str) -> None:
    request = pb.UpdateProfileRequest(account=pb.Account(voice=voice))
    await users.stub.UpdateProfile(request, metadata=bearer(tokens))


async def devices(users: Users, tokens: pb.TokenPair) -> list[str]:
    answer = await users.stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(tokens))
    return [each.device_name for each in answer.sessions]


def session_id(tokens: pb.TokenPair) -> str:
    return str(jwt.decode(tokens.access_token, options={"verify_signature": False})["sid"])


async def revoke(users: Users, tokens: pb.TokenPair, **target: Any) -> int:
    request = pb.RevokeSessionRequest(**target)
    answer = await users.stub.RevokeSession(request, metadata=bearer(tokens))
    revoked: int = answer.revoked
    return revoked


# --- in one process: at once --------------------------------------------------------------------


async def test_an_update_is_seen_by_the_next_call(users: Users):
    tokens = (await users.register()).tokens
    for voice in ("amy", "joe", "amy"):
        await set_voice(users, tokens, voice)
        assert (await profile(users, tokens)).voice == voice


async def test_a_login_and_a_refresh_are_listed_by_the_next_call(users: Users):
    tokens = (await users.register(device_name="laptop")).tokens
    assert await devices(users, tokens) == ["laptop"]
    await login(users, "phone")
    assert await devices(users, tokens) == ["phone", "laptop"]
    await users.clock.advance(1)
    await users.stub.Refresh(pb.RefreshRequest(refresh_token=tokens.refresh_token))
    answer = await users.stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(tokens))
    own = answer.sessions[1]
    assert own.last_used_at.seconds - own.created_at.seconds == 1


@pytest.mark.parametrize("end", ["logout", "revoke", "revoke_all", "password", "reuse"])
@pytest.mark.parametrize(("method", "request_"), OWN)
async def test_the_access_token_of_an_ended_session_is_refused_at_once(
    users: Users, end, method, request_
):
    tokens = (await users.register()).tokens
    other = await login(users)
    await profile(users, tokens)
    match end:
        case "logout":
            await users.stub.Logout(pb.LogoutRequest(refresh_token=tokens.refresh_token))
        case "revoke":
            assert await revoke(users, other, session_id=session_id(tokens)) == 1
        case "revoke_all":
            assert await revoke(users, tokens, all=True) == 2
        case "password":
            change = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)
            await users.stub.ChangePassword(change, metadata=bearer(other))
        case "reuse":
            refresh = pb.RefreshRequest(refresh_token=tokens.refresh_token)
            await users.stub.Refresh(refresh)
            await users.clock.advance(11)
            await users.refused("Refresh", refresh)
    error = await users.refused(method, request_, bearer(tokens))
    assert error.reason == "SESSION_ENDED"


async def test_an_ended_session_ends_no_other_and_its_retry_is_no_error(users: Users):
    tokens = (await users.register()).tokens
    await revoke(users, tokens, all=True)
    other = await login(users)
    assert await revoke(users, tokens, all=True) == 0
    await profile(users, other)


async def test_an_update_that_failed_changes_nothing_that_is_remembered(users: Users):
    tokens = (await users.register()).tokens
    await set_voice(users, tokens, "amy")
    await profile(users, tokens)
    request = pb.UpdateProfileRequest(account=pb.Account(voice="joe"))
    request.update_mask.paths.append("username")
    await users.refused("UpdateProfile", request, bearer(tokens))
    assert (await profile(users, tokens)).voice == "amy"


# --- in two processes: within the time that the setting says -------------------------------------


async def test_what_another_process_wrote_is_seen_within_the_time_of_the_setting(users: Users):
    tokens = (await users.register()).tokens
    async with another_process(users) as other:
        await profile(users, tokens)
        await set_voice(other, tokens, "joe")
        await users.clock.advance(users.settings.account_cache_seconds)
        assert (await profile(users, tokens)).voice == "joe"


async def test_a_session_ended_in_another_process_is_refused_within_that_time(users: Users):
    tokens = (await users.register()).tokens
    async with another_process(users) as other:
        await profile(users, tokens)
        await other.stub.Logout(pb.LogoutRequest(refresh_token=tokens.refresh_token))
        await users.clock.advance(users.settings.account_cache_seconds)
        error = await users.refused("GetProfile", pb.GetProfileRequest(), bearer(tokens))
        assert error.reason == "SESSION_ENDED"


async def test_an_update_builds_on_what_another_process_wrote_a_moment_ago(users: Users):
    tokens = (await users.register()).tokens
    async with another_process(users) as other:
        await profile(users, tokens)
        await set_voice(other, tokens, "joe")
        request = pb.UpdateProfileRequest(account=pb.Account(turn_taking={"no_hints": True}))
        answer = await users.stub.UpdateProfile(request, metadata=bearer(tokens))
        assert (answer.account.voice, answer.account.turn_taking.no_hints) == ("joe", True)


async def test_a_password_changed_in_another_process_counts_at_once(users: Users):
    tokens = (await users.register()).tokens
    async with another_process(users) as other:
        await profile(users, tokens)
        change = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)
        await other.stub.ChangePassword(change, metadata=bearer(tokens))
        error = await users.refused("ChangePassword", change, bearer(tokens))
        assert error.reason == "BAD_CREDENTIALS"


async def test_with_a_setting_of_zero_nothing_is_remembered(users: Users):
    tokens = (await users.register()).tokens
    async with another_process(users, account_cache_seconds=0.0) as other:
        await profile(other, tokens)
        await set_voice(users, tokens, "joe")
        assert (await profile(other, tokens)).voice == "joe"
