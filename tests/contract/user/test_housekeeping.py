"""Sessions and refresh tokens that are over go; what tells a reused token stays."""

import jwt

from parley.user.v1 import user_pb2 as pb
from services.common.clock import SystemClock
from tests.contract.user.conftest import PASSWORD, Users, bearer

HOUR = 3600
DAY = 24 * HOUR


def rows(users: Users, table: str) -> int:
    ((count,),) = users.rows(f"SELECT count(*) FROM {table}")
    return int(count)


async def pass_time(users: Users, seconds: float, until: tuple[int, int]) -> None:
    """Let the time pass, and then hours until so many sessions and refresh tokens are left."""
    await users.clock.advance(seconds)
    for tried in range(20):
        left = (rows(users, "sessions"), rows(users, "refresh_tokens"))
        if left == until:
            return
        # What the last hour woke is at work: a few milliseconds, or seconds where a disk is busy.
        await SystemClock().sleep(min(0.005 * 2**tried, 2.0))
        await users.clock.advance(HOUR)
    raise AssertionError(f"{left} are left, not {until}")


async def refresh(users: Users, token: str) -> pb.TokenPair:
    tokens: pb.TokenPair = (await users.stub.Refresh(pb.RefreshRequest(refresh_token=token))).tokens
    return tokens


async def test_an_ended_session_goes_with_its_tokens_and_no_other(users: Users):
    own = (await users.register()).tokens
    login = pb.LoginRequest(username="Ada", password=PASSWORD)
    other = (await users.stub.Login(login)).tokens
    await users.stub.Logout(pb.LogoutRequest(refresh_token=other.refresh_token))
    await pass_time(users, HOUR, (1, 1))
    own = await refresh(users, own.refresh_token)
    answer = await users.stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(own))
    sid = jwt.decode(own.access_token, options={"verify_signature": False})["sid"]
    assert [each.session_id for each in answer.sessions] == [sid]
    # A token that is gone is as invalid as one of an ended session.
    request = pb.RefreshRequest(refresh_token=other.refresh_token)
    assert (await users.refused("Refresh", request)).reason == "REFRESH_TOKEN_INVALID"


async def test_used_tokens_stay_while_they_tell_of_reuse_and_go_when_they_have_expired(
    users: Users,
):
    first = (await users.register()).tokens
    second = await refresh(users, first.refresh_token)
    await users.clock.advance(29 * DAY)
    third = await refresh(users, second.refresh_token)
    await pass_time(users, HOUR, (1, 3))
    await pass_time(users, 2 * DAY, (1, 1))
    request = pb.RefreshRequest(refresh_token=second.refresh_token)
    assert (await users.refused("Refresh", request)).reason == "REFRESH_TOKEN_INVALID"
    fourth = await refresh(users, third.refresh_token)
    await pass_time(users, DAY, (1, 2))
    request = pb.RefreshRequest(refresh_token=third.refresh_token)
    assert (await users.refused("Refresh", request)).reason == "REFRESH_TOKEN_REUSED"
    request = pb.RefreshRequest(refresh_token=fourth.refresh_token)
    assert (await users.refused("Refresh", request)).reason == "REFRESH_TOKEN_INVALID"


async def test_a_session_that_nobody_came_back_to_goes(users: Users):
    await users.register()
    await pass_time(users, 31 * DAY, (0, 0))
