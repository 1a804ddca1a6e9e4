"""A sign-in that is over opens nothing, whatever becomes of Redis."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from services.common.call_context import Caller
from services.common.clock import ManualClock, SystemClock
from services.common.errors import Unauthenticated, Unavailable
from services.common.redis import connection
from services.common.redis.connection import Redis, connected
from services.common.redis.sign_ins import SINCE, NothingLostSince, SignInCache
from services.common.revocation import EndingWithSignIn, SignInsUnknownError
from tests.redis import empty


class Truth:
    """The user service."""

    def __init__(self) -> None:
        self.over: set[str] = set()
        self.asked: list[list[str]] = []
        self.away = False

    async def ended(self, session_ids: Sequence[str]) -> set[str]:
        self.asked.append(list(session_ids))
        if self.away:
            raise Unavailable("It is away.", reason="PEER_UNAVAILABLE")
        return self.over & set(session_ids)


@pytest.fixture
def truth() -> Truth:
    return Truth()


def cache(redis: Redis, truth: Truth) -> SignInCache:
    return SignInCache(redis, truth.ended, SystemClock())


async def test_the_truth_is_asked_once_for_all_processes(redis, truth):
    truth.over = {"a"}
    assert await cache(redis, truth).ended(["a", "b"]) == {"a"}
    assert await cache(redis, truth).ended(["a", "b"]) == {"a"}
    assert truth.asked == [["a", "b"]]


async def test_one_that_is_live_is_asked_about_again_within_seconds(redis, truth):
    await cache(redis, truth).ended(["a"])
    (key,) = await redis.keys("*")
    assert 0 < await redis.pttl(key) <= 2_000


async def test_an_answer_that_comes_late_does_not_revive_what_is_over(redis, truth):
    """The truth was asked before the end and answers after somebody else has heard of it."""

    async def late(session_ids: Sequence[str]) -> set[str]:
        truth.over = {"a"}
        assert await cache(redis, truth).ended(["a"]) == {"a"}
        return set()

    assert await SignInCache(redis, late, SystemClock()).ended(["a"]) == set()
    assert await cache(redis, truth).ended(["a"]) == {"a"}
    assert len(truth.asked) == 1


async def test_emptied_the_truth_is_asked_again_and_nothing_revoked_is_admitted(
    redis, redis_url, truth
):
    truth.over = {"a"}
    for _ in range(3):
        assert await cache(redis, truth).ended(["a"]) == {"a"}
        empty(redis_url)
    assert truth.asked == [["a"]] * 3


async def test_emptied_while_nobody_can_be_asked_what_was_refused_here_stays_refused(
    redis, redis_url, truth
):
    here, elsewhere = cache(redis, truth), cache(redis, truth)
    truth.over = {"a"}
    assert await here.ended(["a"]) == {"a"}
    empty(redis_url)
    truth.away = True
    assert await here.ended(["a", "b"]) == {"a"}
    with pytest.raises(SignInsUnknownError) as caught:
        await elsewhere.ended(["a"])
    assert caught.value.since == math.inf


async def test_emptied_while_nobody_can_be_asked_a_revoked_token_is_admitted_nowhere(
    redis, redis_url, truth
):
    """A service that had never seen the token took it: history had refused it before."""
    clock = ManualClock()
    issued_at = int(clock.now().timestamp())
    marker = NothingLostSince(redis, clock)

    class Tokens:
        async def verify(self, token: str) -> Caller:
            return Caller("ann", "a", token, issued_at)

    def service() -> EndingWithSignIn:
        return EndingWithSignIn(Tokens(), SignInCache(redis, truth.ended, clock).ended, clock)

    await marker.mark()
    issued_at += 60
    await clock.advance(120)
    truth.over = {"a"}
    with pytest.raises(Unauthenticated):
        await service().verify("t")
    truth.away = True
    with pytest.raises(Unauthenticated):
        await service().verify("t")
    empty(redis_url)
    with pytest.raises(Unavailable):
        await service().verify("t")
    # The user service is back, and gone before anybody has asked it.
    await marker.mark()
    with pytest.raises(Unavailable):
        await service().verify("t")
    truth.away = False
    with pytest.raises(Unauthenticated):
        await service().verify("t")


async def test_what_was_learned_since_the_marker_is_vouched_for_and_nothing_else(
    redis, redis_url, truth
):
    clock, truth.away = ManualClock(), True
    here, marker = SignInCache(redis, truth.ended, clock), NothingLostSince(redis, clock)

    async def since() -> float:
        with pytest.raises(SignInsUnknownError) as caught:
            await here.ended(["a"])
        return caught.value.since

    assert await since() == math.inf
    began = clock.now().timestamp()
    await marker.mark()
    await clock.advance(60)
    await marker.mark()
    assert await since() == pytest.approx(began, abs=0.001)
    empty(redis_url)
    assert await since() == math.inf
    for nonsense in ("", "soon", "nan"):
        await redis.set(SINCE, nonsense)
        assert await since() == math.inf


async def test_what_redis_knows_costs_one_question(redis, truth, monkeypatch: pytest.MonkeyPatch):
    """The check is made for every call of every learner."""
    truth.over = {"a"}
    await cache(redis, truth).ended(["a"])
    here, asked = cache(redis, truth), 0
    execute = redis.execute_command

    async def counted(*args: object, **kwargs: object) -> object:
        nonlocal asked
        asked += 1
        return await execute(*args, **kwargs)

    monkeypatch.setattr(redis, "execute_command", counted)
    for _ in range(3):
        assert await here.ended(["a"]) == {"a"}
    assert asked == 1


async def test_the_marker_comes_back_by_itself(redis, redis_url):
    clock = ManualClock()
    running = asyncio.create_task(NothingLostSince(redis, clock).run())
    try:
        for _ in range(2):
            async with asyncio.timeout(10):
                while not (await redis.keys("*") and clock.sleeping):
                    await asyncio.sleep(0)
            empty(redis_url)
            await clock.advance(1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_without_redis_the_truth_is_asked_every_time(absent, truth):
    here = cache(absent, truth)
    assert await here.ended(["a"]) == set()
    truth.over = {"a"}
    assert await here.ended(["a"]) == {"a"}


async def test_what_is_over_is_remembered_as_long_as_a_token_can_live(redis, redis_url, truth):
    clock = ManualClock()
    here = SignInCache(redis, truth.ended, clock)
    truth.over = {"a"}
    await here.ended(["a"])
    empty(redis_url)
    await clock.advance(3_600)
    await here.ended(["a"])
    assert len(truth.asked) == 1
    await clock.advance(61)
    await here.ended(["a"])
    assert len(truth.asked) == 2


async def test_a_silent_redis_costs_its_time_once(truth, monkeypatch: pytest.MonkeyPatch):
    """Every call of every learner would wait for it otherwise."""
    monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.05)

    async def nobody(_reader: object, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)

    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(nobody, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clock = ManualClock()
    async with server, connected(f"redis://127.0.0.1:{port}/0") as redis:
        here = SignInCache(redis, truth.ended, clock)
        for _ in range(20):
            assert await here.ended(["a"]) == set()
        assert len(silent) == 1
        await clock.advance(11)
        await here.ended(["a"])
        assert len(silent) == 2
        for each in silent:
            each.close()
