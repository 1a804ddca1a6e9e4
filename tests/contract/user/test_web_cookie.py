"""A web page's refresh token: in a cookie, never in a message, and worth nothing elsewhere."""

from typing import Any

import grpc
import pytest

from parley.user.v1 import user_pb2 as pb
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.clock import ManualClock
from services.common.lifecycle import running
from services.user.bootstrap import bootstrap
from services.user.settings import UserSettings
from tests.contract.user.conftest import NEW_PASSWORD, PASSWORD, Users, bearer

WEB = ("x-parley-client", "web")


async def call(users: Users, method: str, request: Any, *metadata: Any) -> tuple[Any, str]:
    """Return the answer and the cookie that came with it."""
    made = getattr(users.stub, method)(request, metadata=metadata)
    answer = await made
    found = dict(await made.initial_metadata()).get("set-cookie", "")
    return answer, str(found)


async def sign_in(users: Users, *metadata: Any) -> tuple[pb.TokenPair, str]:
    await users.register()
    request = pb.LoginRequest(username="Ada", password=PASSWORD)
    answer, cookie = await call(users, "Login", request, WEB, *metadata)
    return answer.tokens, cookie


def sent(cookie: str) -> tuple[str, str]:
    """Return what a browser sends back, beside an odd cookie of somebody else's."""
    return "cookie", f"theme=dark blue, @; {cookie.partition(';')[0]}"


def attributes(cookie: str) -> set[str]:
    return set(cookie.split("; ")[1:])


async def test_a_cookie_without_the_header_is_not_looked_at(users: Users):
    """A form on another site can make a browser send a cookie, but not the header."""
    _, cookie = await sign_in(users)
    error = await users.refused("Refresh", pb.RefreshRequest(), (sent(cookie),))
    assert error.reason == "REFRESH_TOKEN_INVALID"
    await users.stub.Logout(pb.LogoutRequest(), metadata=(sent(cookie),))
    await call(users, "Refresh", pb.RefreshRequest(), WEB, sent(cookie))


@pytest.mark.parametrize("cookie", ["", "parley_refresh=", "parley_refresh=x", '"=;;=', "a" * 300])
async def test_a_bad_cookie_is_a_bad_token(users: Users, cookie):
    metadata = (WEB, ("cookie", cookie))
    error = await users.refused("Refresh", pb.RefreshRequest(), metadata)
    assert error.reason == "REFRESH_TOKEN_INVALID"
    await users.stub.Logout(pb.LogoutRequest(), metadata=metadata)


async def test_who_does_not_say_web_gets_the_token_in_the_message_and_no_cookie(users: Users):
    await users.register()
    request = pb.LoginRequest(username="Ada", password=PASSWORD)
    answer, cookie = await call(users, "Login", request)
    assert answer.tokens.refresh_token
    assert cookie == ""


@pytest.mark.parametrize("method", ["Register", "Login", "ChangePassword", "Refresh"])
async def test_a_page_never_gets_the_token_in_a_message(users: Users, method):
    tokens, cookie = await sign_in(users)
    assert tokens.refresh_token == ""
    request, metadata = {
        "Register": (pb.RegisterRequest(username="Bob", password=PASSWORD), ()),
        "Login": (pb.LoginRequest(username="Ada", password=PASSWORD), ()),
        "ChangePassword": (
            pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD),
            bearer(tokens),
        ),
        "Refresh": (pb.RefreshRequest(), (sent(cookie),)),
    }[method]
    answer, renewed = await call(users, method, request, WEB, *metadata)
    assert answer.tokens.access_token
    assert answer.tokens.refresh_token == ""
    assert renewed.startswith("parley_refresh=")
    assert sent(renewed) != sent(cookie)
    await call(users, "Refresh", pb.RefreshRequest(), WEB, sent(renewed))


async def test_scripts_other_sites_and_other_services_do_not_get_the_cookie(users: Users):
    _, cookie = await sign_in(users)
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/parley.user.v1.UserService/"} <= (
        attributes(cookie)
    )
    assert "Expires=Sat, 31 Jan 2026 00:00:00 GMT" in attributes(cookie)


@pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False)])
async def test_the_cookie_is_secure_unless_the_gateway_says_that_there_is_no_tls(
    users: Users, scheme, secure
):
    _, cookie = await sign_in(users, ("x-forwarded-proto", scheme))
    assert ("Secure" in attributes(cookie)) is secure


async def test_where_tls_ends_before_the_gateway_a_setting_keeps_the_cookie_secure(
    settings: UserSettings,
):
    always = settings.model_copy(update={"secure_cookies": True})
    async with (
        running("user", always, bootstrap) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        users = Users(UserServiceStub(channel), channel, service, ManualClock(), always)
        _, cookie = await sign_in(users, ("x-forwarded-proto", "http"))
    assert "Secure" in attributes(cookie)


async def test_logging_out_ends_the_session_and_takes_the_cookie_away(users: Users):
    tokens, cookie = await sign_in(users)
    _, cleared = await call(users, "Logout", pb.LogoutRequest(), WEB, sent(cookie))
    assert cleared.startswith("parley_refresh=;")
    assert "Expires=Thu, 01 Jan 1970 00:00:00 GMT" in attributes(cleared)
    error = await users.refused("GetProfile", pb.GetProfileRequest(), bearer(tokens))
    assert error.reason == "SESSION_ENDED"


async def test_the_token_of_the_message_wins_over_the_cookie(users: Users):
    _, cookie = await sign_in(users)
    error = await users.refused(
        "Refresh", pb.RefreshRequest(refresh_token="other"), (WEB, sent(cookie))
    )
    assert error.reason == "REFRESH_TOKEN_INVALID"
