"""What two calls at once must not open, on the store with one writer and on the one with many."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import psycopg
import pytest
from sqlalchemy.engine import make_url

from parley.user.v1 import user_pb2 as pb
from services.common.clock import SystemClock
from services.common.ids import new_id
from services.common.status import from_rpc_error
from tests import postgres
from tests.contract.user.conftest import NEW_PASSWORD, PASSWORD, Users, bearer

PAIRS = 16
ROUNDS = 2


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Both, whatever the run says: with one writer nothing of this could happen."""
    if request.param == "sqlite":
        yield {}
        return
    with postgres.empty_database(request.getfixturevalue("postgres_url")) as url:
        yield {"postgresql_url": url}


async def outcome(call: Any) -> Any:
    """Return a call's answer, or the reason it was refused with."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason


def changed(users: Users, tokens: pb.TokenPair) -> Any:
    request = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)
    return outcome(users.stub.ChangePassword(request, metadata=bearer(tokens)))


def refreshed(users: Users, token: str) -> Any:
    return outcome(users.stub.Refresh(pb.RefreshRequest(refresh_token=token)))


async def test_no_refresh_token_outlives_the_password_it_was_stolen_under(users: Users):
    """Whoever changes a stolen token in the same moment has nothing of it."""
    for number in range(ROUNDS):
        made = await asyncio.gather(
            *(users.register(f"ada-{number}-{each}") for each in range(PAIRS))
        )
        pairs = await asyncio.gather(
            *(
                asyncio.gather(
                    changed(users, each.tokens), refreshed(users, each.tokens.refresh_token)
                )
                for each in made
            )
        )
        for own, stolen in pairs:
            assert isinstance(own, pb.ChangePasswordResponse)
            if isinstance(stolen, pb.RefreshResponse):
                later = await refreshed(users, stolen.tokens.refresh_token)
                assert later == "REFRESH_TOKEN_INVALID"
            else:
                assert stolen == "REFRESH_TOKEN_INVALID"
            assert isinstance(await refreshed(users, own.tokens.refresh_token), pb.RefreshResponse)


@pytest.mark.parametrize("database_settings", ["postgresql"], indirect=True)
async def test_a_password_waits_for_the_token_that_is_being_changed(
    users: Users, database_settings: dict[str, Any]
):
    """The same, in the one order of events that leaves a successor behind."""
    tokens = (await users.register()).tokens
    url = make_url(database_settings["postgresql_url"]).set(drivername="postgresql")
    plain = url.render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(plain) as holder:
        # Held up where it notes the session's use: its token is changed, nothing is committed.
        await holder.execute("SELECT FROM parley_user.sessions FOR UPDATE")
        stolen = asyncio.create_task(refreshed(users, tokens.refresh_token))
        await waiting(plain, 1)
        own = asyncio.create_task(changed(users, tokens))
        await waiting(plain, 2)
        await holder.rollback()
    successor, renewed = await stolen, await own
    assert isinstance(renewed, pb.ChangePasswordResponse)
    later = await refreshed(users, successor.tokens.refresh_token)
    assert later == "REFRESH_TOKEN_INVALID"


async def waiting(url: str, count: int) -> None:
    """Return once so many statements wait for a lock."""
    async with (
        asyncio.timeout(30),
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        while True:
            asked = await connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            row = await asked.fetchone()
            if row is not None and row[0] >= count:
                return
            await SystemClock().sleep(0.01)


async def test_a_registration_repeated_while_it_is_under_way_is_answered(users: Users):
    request_id = new_id()
    answers = await asyncio.gather(
        *(outcome(users.stub.Register(registration("Ada", request_id))) for _ in range(4))
    )
    assert [each for each in answers if isinstance(each, str)] == []
    assert len({each.account.user_id for each in answers}) == 1
    for each in answers:
        assert isinstance(await refreshed(users, each.tokens.refresh_token), pb.RefreshResponse)


async def test_of_two_registrations_at_once_with_one_request_id_the_other_name_is_refused(
    users: Users,
):
    request_id = new_id()
    answers = await asyncio.gather(
        *(outcome(users.stub.Register(registration(each, request_id))) for each in ("Ada", "Bob"))
    )
    made = [each for each in answers if isinstance(each, pb.RegisterResponse)]
    assert len(made) == 1
    assert [each for each in answers if isinstance(each, str)] == ["REQUEST_ID_REUSED"]


async def test_of_two_who_want_one_name_at_once_the_other_hears_that_it_is_taken(users: Users):
    answers = await asyncio.gather(
        *(outcome(users.stub.Register(registration("Ada", new_id()))) for _ in range(2))
    )
    assert [each for each in answers if isinstance(each, str)] == ["USERNAME_TAKEN"]


def registration(username: str, request_id: str) -> pb.RegisterRequest:
    return pb.RegisterRequest(username=username, password=PASSWORD, request_id=request_id)
