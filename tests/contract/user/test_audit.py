"""What is done to an account is in the log, under its id; names, passwords and tokens are not."""

import json
from collections import Counter

import pytest
from structlog.testing import capture_logs

from parley.user.v1 import user_pb2 as pb
from tests.contract.user.conftest import NEW_PASSWORD, PASSWORD, Users, bearer


async def test_every_sensitive_action_is_logged_and_nothing_secret(users: Users):
    with capture_logs() as lines:
        first = await users.register()
        login = pb.LoginRequest(username="Ada", password=PASSWORD)
        second = (await users.stub.Login(login)).tokens
        await users.refused("Login", pb.LoginRequest(username="Ada", password="a wrong guess"))
        await users.refused("Login", pb.LoginRequest(username="nobody", password="a wrong guess"))
        refresh = pb.RefreshRequest(refresh_token=second.refresh_token)
        await users.stub.Refresh(refresh)
        await users.clock.advance(11)
        await users.refused("Refresh", refresh)
        tokens = first.tokens
        change = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)
        changed = (await users.stub.ChangePassword(change, metadata=bearer(tokens))).tokens
        await users.refused("ChangePassword", change, bearer(tokens))
        await users.stub.RevokeSession(
            pb.RevokeSessionRequest(all_others=True), metadata=bearer(tokens)
        )
        await users.stub.Logout(pb.LogoutRequest(refresh_token=changed.refresh_token))
    user_id = first.account.user_id
    assert [(each["event"], each.get("user_id")) for each in lines] == [
        ("account_made", user_id),
        ("signed_in", user_id),
        ("sign_in_refused", user_id),
        ("sign_in_refused", None),
        ("refresh_token_reused", user_id),
        ("password_changed", user_id),
        ("password_change_refused", user_id),
        ("sessions_revoked", user_id),
        ("signed_out", user_id),
    ]
    (trail,) = users.settings.audit_dir.iterdir()
    kept = trail.read_text("utf-8")
    assert [json.loads(each)["event"] for each in kept.splitlines()] == [
        each["event"] for each in lines
    ]
    written = repr(lines) + kept
    issued = (tokens, second, changed)
    secrets = {PASSWORD, NEW_PASSWORD, "a wrong guess", "Ada", "nobody"}
    secrets |= {each.access_token for each in issued} | {each.refresh_token for each in issued}
    assert [each for each in secrets if each in written] == []


async def test_what_was_refused_is_noted_too_and_a_flood_of_refusals_once(users: Users):
    first = await users.register()
    with capture_logs() as lines:
        delete = pb.DeleteAccountRequest(password="a wrong guess")
        for _ in range(users.settings.login_attempts + 5):
            await users.refused("DeleteAccount", delete, bearer(first.tokens))
        login = pb.LoginRequest(username="Ada", password="a wrong guess")
        for _ in range(users.settings.login_attempts + 5):
            await users.refused("Login", login)
    noted = Counter((each["event"], each.get("user_id")) for each in lines)
    user_id = first.account.user_id
    assert noted == {
        ("account_deletion_refused", user_id): users.settings.login_attempts,
        ("sign_in_refused", user_id): users.settings.login_attempts,
        ("too_many_attempts", user_id): 1,
        ("too_many_attempts", None): 1,
    }


@pytest.mark.parametrize("username", ["my secret password", "hunter2 hunter2"])
async def test_a_password_typed_as_a_name_is_not_logged(users: Users, username):
    with capture_logs() as lines:
        await users.refused("Login", pb.LoginRequest(username=username, password="x"))
    assert username not in repr(lines)
