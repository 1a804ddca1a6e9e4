"""An account that is deleted is gone at once, and its traces as soon as everybody could be told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from parley.user.v1 import user_pb2 as pb
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.clock import ManualClock
from services.common.lifecycle import running
from services.user.bootstrap import bootstrap
from services.user.passwords import PasswordHasher
from services.user.settings import UserSettings
from tests.contract.user.conftest import NEW_PASSWORD, PASSWORD, Users, bearer
from tests.contract.user.peers import FakePeers, serve

SERVICES = ["conversation", "history", "media"]


@pytest.fixture
async def peers() -> FakePeers:
    return FakePeers()


@pytest.fixture
async def settings(tmp_path: Path, peers: FakePeers) -> AsyncIterator[UserSettings]:
    async with serve(peers) as address:
        yield UserSettings(
            data_dir=tmp_path,
            port=0,
            metrics_port=0,
            bcrypt_cost=4,
            conversation_address=address,
            history_address=address,
            media_address=address,
        )


async def until(users: Users, true: Callable[[], bool], step_s: float = 1.0) -> None:
    """Move the service's time on until something is true; calls take real time."""
    async with asyncio.timeout(20):
        while not true():
            await users.clock.advance(step_s)
            await asyncio.sleep(0.01)


async def delete(users: Users, tokens: pb.TokenPair, password: str = PASSWORD) -> None:
    await users.stub.DeleteAccount(
        pb.DeleteAccountRequest(password=password), metadata=bearer(tokens)
    )


async def test_a_wrong_password_deletes_nothing(users: Users, peers: FakePeers):
    tokens = (await users.register()).tokens
    request = pb.DeleteAccountRequest(password="not it")
    refused = await users.refused("DeleteAccount", request, bearer(tokens))
    assert refused.reason == "BAD_CREDENTIALS"
    await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(tokens))
    assert peers.erased == []


async def test_what_happened_while_the_password_was_checked_counts(
    users: Users, monkeypatch: pytest.MonkeyPatch
):
    first = (await users.register()).tokens
    login = pb.LoginRequest(username="Ada", password=PASSWORD)
    second = (await users.stub.Login(login)).tokens
    matches = PasswordHasher.matches
    meanwhile: list[Callable[[], Any]] = []
    answers: list[Any] = []

    async def late(self: PasswordHasher, *asked: Any) -> bool:
        same = await matches(self, *asked)
        if meanwhile:
            answers.append(await meanwhile.pop()())
        return same

    monkeypatch.setattr(PasswordHasher, "matches", late)
    request = pb.DeleteAccountRequest(password=PASSWORD)
    revoke = pb.RevokeSessionRequest(all_others=True)
    meanwhile.append(lambda: users.stub.RevokeSession(revoke, metadata=bearer(first)))
    refused = await users.refused("DeleteAccount", request, bearer(second))
    assert refused.reason == "SESSION_ENDED"
    change = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)
    meanwhile.append(lambda: users.stub.ChangePassword(change, metadata=bearer(first)))
    refused = await users.refused("DeleteAccount", request, bearer(first))
    assert refused.reason == "BAD_CREDENTIALS"
    tokens = answers[-1].tokens
    await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(tokens))


async def test_the_account_is_gone_at_once_and_its_name_is_free(users: Users):
    tokens = (await users.register("Ada")).tokens
    await delete(users, tokens)
    asked = await users.refused("GetProfile", pb.GetProfileRequest(), bearer(tokens))
    assert asked.reason == "USER_NOT_FOUND"
    login = pb.LoginRequest(username="Ada", password=PASSWORD)
    assert (await users.refused("Login", login)).reason == "BAD_CREDENTIALS"
    refresh = pb.RefreshRequest(refresh_token=tokens.refresh_token)
    assert (await users.refused("Refresh", refresh)).reason == "REFRESH_TOKEN_INVALID"
    again = pb.DeleteAccountRequest(password=PASSWORD)
    assert (await users.refused("DeleteAccount", again, bearer(tokens))).reason == "USER_NOT_FOUND"
    await users.register("Ada")


async def test_every_service_erases_the_user_and_live_talks_end_first(
    users: Users, peers: FakePeers
):
    registered = await users.register()
    await delete(users, registered.tokens)
    await until(users, lambda: len(peers.erased) >= 3)
    assert peers.erased[:3] == [(each, registered.account.user_id) for each in SERVICES]


async def test_a_service_that_is_away_is_asked_again_and_the_others_are_not_kept_waiting(
    users: Users, peers: FakePeers
):
    peers.away = {"conversation", "history"}
    await delete(users, (await users.register()).tokens)
    await until(users, lambda: len(peers.erased) >= 3)
    assert {service for service, _ in peers.erased} == {"media"}
    peers.away = set()
    await until(users, lambda: {service for service, _ in peers.erased} == set(SERVICES))


async def test_what_came_after_the_deletion_is_looked_for_until_nothing_is_found(
    users: Users, peers: FakePeers
):
    await delete(users, (await users.register()).tokens)
    await until(users, lambda: len(peers.erased) >= 3)
    # The last access token still worked for a while, and a recording was made with it.
    peers.kept = {"media": 1}
    await until(users, lambda: not peers.kept, step_s=30)
    looks = len(peers.erased)
    await until(users, lambda: len(peers.erased) >= looks + 3, step_s=30)
    looks = len(peers.erased)
    # The look that found nothing was the last.
    for _ in range(20):
        await users.clock.advance(600)
        await asyncio.sleep(0.01)
    assert len(peers.erased) == looks


async def test_a_restart_does_not_forget_what_is_to_be_erased(
    settings: UserSettings, peers: FakePeers
):
    peers.away = set(SERVICES)
    clock = ManualClock()
    async with (
        running("user", settings, bootstrap, clock=clock) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        first = Users(UserServiceStub(channel), channel, service, clock, settings)
        await delete(first, (await first.register()).tokens)
    peers.away = set()
    clock = ManualClock()
    async with (
        running("user", settings, bootstrap, clock=clock) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        second = Users(UserServiceStub(channel), channel, service, clock, settings)
        await until(second, lambda: len(peers.erased) >= 3)
    assert [service for service, _ in peers.erased][:3] == SERVICES
