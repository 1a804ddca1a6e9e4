"""Guessing, registering and calling too often, as clients on other machines meet it."""

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from parley.user.v1 import user_pb2 as pb
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.clock import ManualClock
from services.common.interceptors.pace import CLIENT_ADDRESS_KEY
from services.common.lifecycle import running
from services.common.limits import DEFAULT_LIMITS
from services.user.bootstrap import bootstrap
from services.user.settings import UserSettings
from tests.contract.user.conftest import NEW_PASSWORD, PASSWORD, Users, bearer

HERE = (CLIENT_ADDRESS_KEY, "203.0.113.7")
THERE = (CLIENT_ADDRESS_KEY, "198.51.100.1")


def login(username: str = "Ada", password: str = PASSWORD) -> pb.LoginRequest:
    return pb.LoginRequest(username=username, password=password)


async def guess(users: Users, times: int, *metadata: tuple[str, str], name: str = "Ada") -> None:
    for _ in range(times):
        error = await users.refused("Login", login(name, "a wrong guess"), metadata)
        assert error.reason == "BAD_CREDENTIALS"


@pytest.mark.parametrize("name", ["Ada", "nobody"])
async def test_a_known_and_an_unknown_name_are_throttled_alike(users: Users, name):
    await users.register()
    await guess(users, users.settings.login_attempts, HERE, name=name)
    error = await users.refused("Login", login(name), (HERE,))
    assert error.reason == "TOO_MANY_ATTEMPTS"
    assert error.message == "Too many failed attempts."
    assert error.retry_after == pytest.approx(30)


async def test_guessing_elsewhere_locks_nobody_out(users: Users):
    await users.register()
    await guess(users, users.settings.login_attempts, HERE)
    await users.refused("Login", login(), (HERE,))
    await users.stub.Login(login(), metadata=(THERE,))


async def test_who_is_signed_in_stays_signed_in_whatever_happens_at_the_door(users: Users):
    tokens = (await users.register()).tokens
    await guess(users, users.settings.login_attempts, HERE)
    await users.stub.Refresh(
        pb.RefreshRequest(refresh_token=tokens.refresh_token), metadata=(HERE,)
    )
    await users.stub.GetProfile(pb.GetProfileRequest(), metadata=(*bearer(tokens), HERE))


async def test_guessing_the_old_password_is_slowed_down_too(users: Users):
    tokens = (await users.register()).tokens
    wrong = pb.ChangePasswordRequest(old_password="a wrong guess", new_password=NEW_PASSWORD)
    right = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)
    metadata = (*bearer(tokens), HERE)
    for _ in range(users.settings.login_attempts):
        assert (await users.refused("ChangePassword", wrong, metadata)).reason == "BAD_CREDENTIALS"
    error = await users.refused("ChangePassword", right, metadata)
    assert error.reason == "TOO_MANY_ATTEMPTS"
    assert error.retry_after


async def test_one_address_makes_so_many_accounts_an_hour(users: Users):
    most = users.settings.registrations_per_hour
    for number in range(most):
        request = pb.RegisterRequest(username=f"user{number}", password=PASSWORD)
        await users.stub.Register(request, metadata=(HERE,))
    request = pb.RegisterRequest(username="onemore", password=PASSWORD)
    error = await users.refused("Register", request, (HERE,))
    assert error.reason == "TOO_MANY_ATTEMPTS"
    assert error.retry_after == pytest.approx(3600 / most)
    await users.stub.Register(request, metadata=(THERE,))


@pytest.fixture
async def slow_users(settings: UserSettings) -> AsyncIterator[Users]:
    """A service that takes two calls a second of a user, three of an address."""
    limits = replace(DEFAULT_LIMITS, calls_per_user_per_second=2, calls_per_address_per_second=3)
    clock = ManualClock()
    async with (
        running("user", settings, bootstrap, clock=clock, limits=limits) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        yield Users(UserServiceStub(channel), channel, service, clock, settings)


async def test_n_calls_of_a_user_pass_and_one_more_is_told_how_long(slow_users: Users):
    users = slow_users
    tokens = (await users.register()).tokens
    metadata = (*bearer(tokens), HERE)
    for _ in range(10):
        await users.stub.ListSessions(pb.ListSessionsRequest(), metadata=metadata)
    # From wherever: it is the user who is too fast.
    elsewhere = (*bearer(tokens), THERE)
    error = await users.refused("GetProfile", pb.GetProfileRequest(), elsewhere)
    assert error.reason == "CALLS_TOO_FAST"
    assert error.retry_after == pytest.approx(0.5)
    await users.clock.advance(error.retry_after)
    await users.stub.GetProfile(pb.GetProfileRequest(), metadata=metadata)


async def test_n_calls_from_an_address_pass_whoever_calls_and_forged_tokens_count(
    slow_users: Users,
):
    users = slow_users
    for _ in range(15):
        forged = (("authorization", "Bearer forged"), HERE)
        error = await users.refused("GetProfile", pb.GetProfileRequest(), forged)
        assert error.reason == "TOKEN_INVALID"
    error = await users.refused("GetJwks", pb.GetJwksRequest(), (HERE,))
    assert error.reason == "CALLS_TOO_FAST"
    assert error.retry_after
    await users.stub.GetJwks(pb.GetJwksRequest(), metadata=(THERE,))


async def test_callers_on_this_machine_are_not_held_up(slow_users: Users):
    for metadata in ((), ((CLIENT_ADDRESS_KEY, "127.0.0.1"),)):
        for _ in range(30):
            await slow_users.stub.GetJwks(pb.GetJwksRequest(), metadata=metadata)
