"""Guessing, registering and calling too often, as clients on other machines meet it."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import bcrypt
import grpc
import pytest

from parley.user.v1 import user_pb2 as pb
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.clock import ManualClock
from services.common.interceptors.pace import CLIENT_ADDRESS_KEY
from services.common.lifecycle import running
from services.common.limits import DEFAULT_LIMITS
from services.user.bootstrap import bootstrap
from services.user.passwords import PasswordHasher
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


async def test_other_peoples_failures_keep_nobody_signed_in_from_a_new_password_or_from_leaving(
    users: Users,
):
    tokens = (await users.register()).tokens
    for address in range(3 * users.settings.login_attempts):
        elsewhere = (CLIENT_ADDRESS_KEY, f"192.0.2.{address}")
        await guess(users, 1, elsewhere)
    # At home, too: somebody in the same house.
    await guess(users, users.settings.login_attempts // 2, HERE, name="nobody")
    assert (await users.refused("Login", login(), (HERE,))).reason == "TOO_MANY_ATTEMPTS"
    metadata = (*bearer(tokens), HERE)
    change = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)
    changed = (await users.stub.ChangePassword(change, metadata=metadata)).tokens
    delete = pb.DeleteAccountRequest(password=NEW_PASSWORD)
    await users.stub.DeleteAccount(delete, metadata=(*bearer(changed), HERE))


@pytest.mark.parametrize("renewing", [False, True], ids=["made there", "kept signed in there"])
async def test_where_an_account_is_signed_in_nobody_keeps_its_owner_out(
    users: Users, renewing: bool
):
    """Who never types the password again was held up at home by whoever failed at their name."""
    account = pb.RegisterRequest(username="Ada", password=PASSWORD)
    made = await users.stub.Register(account, metadata=() if renewing else (HERE,))
    if renewing:
        renew = pb.RefreshRequest(refresh_token=made.tokens.refresh_token)
        await users.stub.Refresh(renew, metadata=(HERE,))
    for address in range(3 * users.settings.login_attempts):
        await guess(users, 1, (CLIENT_ADDRESS_KEY, f"192.0.2.{address}"))
    assert (await users.refused("Login", login(), (THERE,))).reason == "TOO_MANY_ATTEMPTS"
    await users.stub.Login(login(), metadata=(HERE,))


async def test_a_refresh_that_is_refused_makes_no_place_known(users: Users):
    await users.register()
    made_up = pb.RefreshRequest(refresh_token="made up")
    assert (await users.refused("Refresh", made_up, (HERE,))).reason == "REFRESH_TOKEN_INVALID"
    for address in range(3 * users.settings.login_attempts):
        await guess(users, 1, (CLIENT_ADDRESS_KEY, f"192.0.2.{address}"))
    assert (await users.refused("Login", login(), (HERE,))).reason == "TOO_MANY_ATTEMPTS"


async def test_guessing_the_password_to_delete_with_is_slowed_down_too(users: Users):
    metadata = (*bearer((await users.register()).tokens), HERE)
    wrong = pb.DeleteAccountRequest(password="a wrong guess")
    for _ in range(users.settings.login_attempts):
        assert (await users.refused("DeleteAccount", wrong, metadata)).reason == "BAD_CREDENTIALS"
    right = pb.DeleteAccountRequest(password=PASSWORD)
    error = await users.refused("DeleteAccount", right, metadata)
    assert error.reason == "TOO_MANY_ATTEMPTS"


@pytest.mark.parametrize("password", [PASSWORD, "a wrong guess"])
async def test_a_flood_from_one_address_keeps_nobody_elsewhere_out(
    users: Users, monkeypatch: pytest.MonkeyPatch, password: str
):
    await users.register("Eve")
    await users.register()
    ended, go = asyncio.Semaphore(0), threading.Event()
    checkpw = bcrypt.checkpw

    def held(*given: bytes) -> bool:
        assert go.wait(20)
        return checkpw(*given)

    async def knock() -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await users.stub.Login(login("Eve", password), metadata=(HERE,))
        ended.release()

    monkeypatch.setattr(bcrypt, "checkpw", held)
    flood = [asyncio.create_task(knock()) for _ in range(60)]
    async with asyncio.timeout(20):
        # All but the places that the service gives at all.
        for _ in range(60 - users.settings.password_queue):
            await ended.acquire()
        victim = users.stub.Login(login(), metadata=(THERE,))
        # Their turn comes when the threads are free; a refusal would come at once.
        await users.stub.GetJwks(pb.GetJwksRequest())
        go.set()
        await victim
        await asyncio.gather(*flood)


async def test_a_guess_whose_answer_nobody_waits_for_counts(
    users: Users, monkeypatch: pytest.MonkeyPatch
):
    await users.register()
    begun = asyncio.Semaphore(0)

    async def endless(*_asked: object) -> bool:
        begun.release()
        await asyncio.Event().wait()
        return False

    async with asyncio.timeout(20):
        with monkeypatch.context() as patched:
            patched.setattr(PasswordHasher, "matches", endless)
            for _ in range(users.settings.login_attempts):
                call = users.stub.Login(login("Ada", "a wrong guess"), metadata=(HERE,))
                await begun.acquire()
                call.cancel()
        error = await users.refused("Login", login(), (HERE,))
    assert error.reason == "TOO_MANY_ATTEMPTS"
    await users.stub.Login(login(), metadata=(THERE,))


async def test_of_many_guesses_at_once_no_more_are_looked_at_than_of_one_after_another(
    users: Users, monkeypatch: pytest.MonkeyPatch
):
    await users.register()
    checkpw, looked_at = bcrypt.checkpw, []

    def counted(password: bytes, stored: bytes) -> bool:
        looked_at.append(password)
        return checkpw(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    wrong = [login("Ada", f"a wrong guess {number}") for number in range(200)]
    errors = await asyncio.gather(*(users.refused("Login", each, (HERE,)) for each in wrong))
    reasons = Counter(each.reason for each in errors)
    assert 0 < len(looked_at) <= users.settings.login_attempts
    assert reasons == {
        "BAD_CREDENTIALS": len(looked_at),
        "TOO_MANY_ATTEMPTS": 200 - len(looked_at),
    }


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
