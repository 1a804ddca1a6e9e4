"""Refresh, Logout, ChangePassword, sessions and keys: success, and each documented failure."""

import asyncio
import json
from typing import Any

import grpc
import jwt
import pytest

from parley.user.v1 import user_pb2 as pb
from services.common.ids import new_id
from services.common.limits import DEFAULT_LIMITS
from services.common.service_identity import ServiceSigner
from services.common.status import from_rpc_error
from tests.contract.user.conftest import PASSWORD, Users, bearer


async def refresh(users: Users, token: str) -> pb.TokenPair:
    answer = await users.stub.Refresh(pb.RefreshRequest(refresh_token=token))
    tokens: pb.TokenPair = answer.tokens
    return tokens


async def refused(users: Users, token: str) -> str:
    request = pb.RefreshRequest(refresh_token=token)
    return (await users.refused("Refresh", request)).reason


def claims(tokens: pb.TokenPair) -> dict[str, object]:
    found: dict[str, object] = jwt.decode(tokens.access_token, options={"verify_signature": False})
    return found


async def login(users: Users, password: str = PASSWORD, device: str = "") -> pb.TokenPair:
    request = pb.LoginRequest(username="Ada", password=password, device_name=device)
    tokens: pb.TokenPair = (await users.stub.Login(request)).tokens
    return tokens


# --- Refresh ------------------------------------------------------------------------------------


async def test_refresh_gives_new_tokens_of_the_same_session(users: Users):
    first = (await users.register()).tokens
    second = await refresh(users, first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert claims(second)["sid"] == claims(first)["sid"]
    assert claims(second)["sub"] == claims(first)["sub"]
    await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(second))


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 512])
async def test_an_unknown_refresh_token_is_refused(users: Users, token):
    assert await refused(users, token) == "REFRESH_TOKEN_INVALID"


async def test_a_retry_within_the_grace_gets_the_same_successor(users: Users):
    first = (await users.register()).tokens
    second = await refresh(users, first.refresh_token)
    await users.clock.advance(9)
    again = await refresh(users, first.refresh_token)
    assert again.refresh_token == second.refresh_token
    assert again.refresh_token_expires_at == second.refresh_token_expires_at
    await refresh(users, again.refresh_token)


async def test_retries_at_once_all_get_the_same_successor(users: Users):
    first = (await users.register()).tokens
    results = await asyncio.gather(*(refresh(users, first.refresh_token) for _ in range(50)))
    assert len({each.refresh_token for each in results}) == 1


async def test_reuse_after_the_grace_ends_the_whole_session(users: Users):
    first = (await users.register()).tokens
    second = await refresh(users, first.refresh_token)
    await users.clock.advance(11)
    assert await refused(users, first.refresh_token) == "REFRESH_TOKEN_REUSED"
    assert await refused(users, second.refresh_token) == "REFRESH_TOKEN_INVALID"


async def test_reuse_within_the_grace_is_caught_once_the_successor_was_used(users: Users):
    first = (await users.register()).tokens
    second = await refresh(users, first.refresh_token)
    third = await refresh(users, second.refresh_token)
    assert await refused(users, first.refresh_token) == "REFRESH_TOKEN_REUSED"
    assert await refused(users, third.refresh_token) == "REFRESH_TOKEN_INVALID"


async def test_reuse_ends_no_other_session(users: Users):
    first = (await users.register()).tokens
    other = await login(users)
    await refresh(users, first.refresh_token)
    await users.clock.advance(11)
    await refused(users, first.refresh_token)
    await refresh(users, other.refresh_token)


async def test_an_unused_refresh_token_expires_after_its_days(users: Users):
    tokens = (await users.register()).tokens
    await users.clock.advance(30 * 86_400 - 1)
    tokens = await refresh(users, tokens.refresh_token)
    await users.clock.advance(30 * 86_400)
    assert await refused(users, tokens.refresh_token) == "REFRESH_TOKEN_INVALID"


async def test_no_token_and_no_password_is_stored(users: Users):
    tokens = (await users.register()).tokens
    tokens = await refresh(users, tokens.refresh_token)
    tables = ("accounts", "sessions", "refresh_tokens")
    values = [
        each for table in tables for row in users.rows(f"SELECT * FROM {table}") for each in row
    ]
    dump = b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in values)
    assert b"Ada" in dump
    for secret in (tokens.refresh_token, tokens.access_token, PASSWORD):
        assert secret.encode() not in dump


# --- Logout -------------------------------------------------------------------------------------


async def test_logout_ends_the_session_and_may_be_repeated(users: Users):
    tokens = (await users.register()).tokens
    for _ in range(2):
        await users.stub.Logout(pb.LogoutRequest(refresh_token=tokens.refresh_token))
    assert await refused(users, tokens.refresh_token) == "REFRESH_TOKEN_INVALID"


@pytest.mark.parametrize("token", ["", "unknown"])
async def test_logout_of_an_unknown_token_succeeds(users: Users, token):
    await users.stub.Logout(pb.LogoutRequest(refresh_token=token))


# --- ChangePassword -----------------------------------------------------------------------------


async def change(users: Users, tokens: pb.TokenPair, old: str = PASSWORD) -> pb.TokenPair:
    request = pb.ChangePasswordRequest(old_password=old, new_password="new password")
    answer = await users.stub.ChangePassword(request, metadata=bearer(tokens))
    changed: pb.TokenPair = answer.tokens
    return changed


async def test_a_changed_password_ends_other_sessions_and_keeps_ones_own(users: Users):
    other = (await users.register()).tokens
    own = await login(users)
    changed = await change(users, own)
    assert claims(changed)["sid"] == claims(own)["sid"]
    assert await refused(users, other.refresh_token) == "REFRESH_TOKEN_INVALID"
    assert await refused(users, own.refresh_token) == "REFRESH_TOKEN_INVALID"
    await refresh(users, changed.refresh_token)
    await login(users, "new password")
    error = await users.refused("Login", pb.LoginRequest(username="Ada", password=PASSWORD))
    assert error.reason == "BAD_CREDENTIALS"


async def test_the_old_password_must_be_right(users: Users):
    tokens = (await users.register()).tokens
    request = pb.ChangePasswordRequest(old_password="wrong", new_password="new password")
    error = await users.refused("ChangePassword", request, bearer(tokens))
    assert error.reason == "BAD_CREDENTIALS"
    await login(users)


async def test_a_common_password_is_refused_as_a_new_one(users: Users):
    tokens = (await users.register()).tokens
    request = pb.ChangePasswordRequest(old_password=PASSWORD, new_password="qwertyuiop")
    error = await users.refused("ChangePassword", request, bearer(tokens))
    assert error.reason == "PASSWORD_TOO_COMMON"
    assert [each.field for each in error.fields] == ["new_password"]
    await login(users)


async def test_a_session_that_was_ended_changes_nothing(users: Users):
    tokens = (await users.register()).tokens
    await users.stub.Logout(pb.LogoutRequest(refresh_token=tokens.refresh_token))
    request = pb.ChangePasswordRequest(old_password=PASSWORD, new_password="new password")
    error = await users.refused("ChangePassword", request, bearer(tokens))
    assert error.reason == "SESSION_ENDED"
    await login(users)


# --- ListSessions, RevokeSession ----------------------------------------------------------------


async def sessions(users: Users, tokens: pb.TokenPair) -> list[pb.Session]:
    answer = await users.stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(tokens))
    return list(answer.sessions)


async def revoke(users: Users, tokens: pb.TokenPair, **target: Any) -> int:
    request = pb.RevokeSessionRequest(**target)
    answer = await users.stub.RevokeSession(request, metadata=bearer(tokens))
    revoked: int = answer.revoked
    return revoked


async def test_sessions_are_listed_newest_first_with_ones_own_marked(users: Users):
    await users.register(device_name="laptop")
    await users.clock.advance(60)
    own = await login(users, device="phone")
    found = await sessions(users, own)
    assert [(each.device_name, each.current) for each in found] == [
        ("phone", True),
        ("laptop", False),
    ]
    await users.clock.advance(60)
    await refresh(users, own.refresh_token)
    newest = (await sessions(users, own))[0]
    assert newest.last_used_at.seconds - newest.created_at.seconds == 60


async def test_an_account_has_so_many_sessions_and_one_more_ends_the_oldest(users: Users):
    most = DEFAULT_LIMITS.sessions_per_user
    oldest = (await users.register(device_name="0")).tokens
    for number in range(1, most):
        await users.clock.advance(1)
        await login(users, device=str(number))
    assert [each.device_name for each in await sessions(users, oldest)][-1] == "0"
    newest = await login(users, device=str(most))
    assert await refused(users, oldest.refresh_token) == "REFRESH_TOKEN_INVALID"
    listed = [each.device_name for each in await sessions(users, newest)]
    assert listed == [str(number) for number in range(most, 0, -1)]


async def test_one_session_is_ended_and_ending_it_again_does_nothing(users: Users):
    other = (await users.register()).tokens
    own = await login(users)
    target = str(claims(other)["sid"])
    assert await revoke(users, own, session_id=target) == 1
    assert await revoke(users, own, session_id=target) == 0
    assert await refused(users, other.refresh_token) == "REFRESH_TOKEN_INVALID"
    await refresh(users, own.refresh_token)


async def test_all_others_or_all_are_ended(users: Users):
    await users.register()
    await login(users)
    own = await login(users)
    assert await revoke(users, own, all_others=True) == 2
    assert [each.current for each in await sessions(users, own)] == [True]
    assert await revoke(users, own, all=True) == 1
    assert await refused(users, own.refresh_token) == "REFRESH_TOKEN_INVALID"


@pytest.mark.parametrize(
    "target", [{}, {"session_id": "not an id"}, {"all": False}, {"all_others": False}]
)
async def test_what_to_end_must_be_said(users: Users, target):
    tokens = (await users.register()).tokens
    request = pb.RevokeSessionRequest(**target)
    error = await users.refused("RevokeSession", request, bearer(tokens))
    assert error.reason == "INVALID_REQUEST"
    await refresh(users, tokens.refresh_token)


async def test_nobody_ends_the_session_of_another_user(users: Users):
    ada = (await users.register()).tokens
    bob = (await users.register("Bob")).tokens
    assert await revoke(users, bob, session_id=str(claims(ada)["sid"])) == 0
    assert await revoke(users, bob, session_id=new_id()) == 0
    await refresh(users, ada.refresh_token)


# --- tokens and keys ----------------------------------------------------------------------------


async def test_the_access_token_is_as_the_gateway_expects_it(users: Users):
    tokens = (await users.register()).tokens
    jwks = json.loads((await users.stub.GetJwks(pb.GetJwksRequest())).jwks_json)
    header = jwt.get_unverified_header(tokens.access_token)
    assert header == {"alg": "EdDSA", "typ": "at+jwt", "kid": jwks["keys"][0]["kid"]}
    key = jwt.PyJWK(jwks["keys"][0]).key
    verified = jwt.decode(
        tokens.access_token,
        key,
        algorithms=["EdDSA"],
        issuer="parley",
        audience="parley",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert set(verified) == {"iss", "aud", "sub", "sid", "iat", "exp", "jti"}
    assert verified["exp"] - verified["iat"] == 600


async def test_the_keys_in_the_file_are_those_of_the_rpc_and_no_private_part(users: Users):
    answer = await users.stub.GetJwks(pb.GetJwksRequest())
    path = users.settings.keys_dir / "jwks.json"
    assert json.loads(path.read_text("utf-8")) == json.loads(answer.jwks_json)
    assert all("d" not in key for key in json.loads(answer.jwks_json)["keys"])


async def test_an_expired_access_token_is_told_apart(users: Users):
    tokens = (await users.register()).tokens
    await users.clock.advance(606)
    error = await users.refused("GetProfile", pb.GetProfileRequest(), bearer(tokens))
    assert error.reason == "TOKEN_EXPIRED"


# --- FindEndedSessions --------------------------------------------------------------------------


async def ended(users: Users, *session_ids: str, caller: str = "conversation") -> list[str]:
    signer = ServiceSigner.open(caller, users.settings.keys_dir / "services", users.clock)
    answer = await users.stub.FindEndedSessions(
        pb.FindEndedSessionsRequest(session_ids=session_ids), metadata=[signer.metadata("user")]
    )
    return list(answer.ended)


async def test_the_conversation_service_is_told_which_sessions_are_over(users: Users):
    own = (await users.register()).tokens
    others = [await login(users) for _ in range(2)]
    ids = [str(claims(each)["sid"]) for each in (own, *others)]
    assert await ended(users, *ids) == []
    await users.stub.Logout(pb.LogoutRequest(refresh_token=others[0].refresh_token))
    unknown = new_id()
    assert await ended(users, *ids, unknown) == [ids[1], unknown]
    await change(users, own)
    assert await ended(users, *ids) == ids[1:]
    await users.clock.advance(30 * 86_400)
    assert await ended(users, *ids) == ids


async def test_1000_sessions_can_be_asked_for_and_no_more(users: Users):
    assert len(await ended(users, *(new_id() for _ in range(1000)))) == 1000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ended(users, *(new_id() for _ in range(1001)))
    assert from_rpc_error(caught.value).reason == "INVALID_REQUEST"


@pytest.mark.parametrize("caller", ["ai", "history", "media"])
async def test_services_that_refuse_tokens_of_ended_sessions_are_told_too(users: Users, caller):
    unknown = new_id()
    assert await ended(users, unknown, caller=caller) == [unknown]


async def test_nobody_else_is_told_of_sessions(users: Users):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ended(users, new_id(), caller="user")
    assert from_rpc_error(caught.value).reason == "SERVICE_IDENTITY_REQUIRED"


async def test_no_learner_is_told_of_sessions(users: Users):
    tokens = (await users.register()).tokens
    request = pb.FindEndedSessionsRequest()
    error = await users.refused("FindEndedSessions", request, bearer(tokens))
    assert error.reason == "SERVICE_IDENTITY_REQUIRED"
