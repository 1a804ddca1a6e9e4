"""What is remembered of accounts, and when it must not be."""

import asyncio
from datetime import timedelta

import pytest

from services.common.clock import ManualClock
from services.user import account_cache
from services.user.account_cache import AccountCache
from services.user.accounts import Account, Session, SignedInAccount
from services.user.usernames import Username

CLOCK = ManualClock()


def found(user_id: str = "ada", sessions: int = 1) -> SignedInAccount:
    now = CLOCK.now()
    account = Account(user_id, Username(user_id, user_id), b"", now)
    return SignedInAccount(
        account,
        tuple(
            Session(f"{user_id}-{i}", user_id, "", now, now, now + timedelta(days=1))
            for i in range(sessions)
        ),
    )


class Reads:
    """A database that counts how often it is read, and can be held."""

    def __init__(self, answer: SignedInAccount | None) -> None:
        self.answer = answer
        self.count = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> SignedInAccount | None:
        self.count += 1
        answer = self.answer
        await self.go.wait()
        return answer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> AccountCache:
    return AccountCache(clock, 2.0)


async def test_an_unknown_user_is_asked_for_each_time(cache: AccountCache):
    read = Reads(None)
    assert await cache.get("ada", read) is None
    read.answer = found()
    assert await cache.get("ada", read) == read.answer


async def test_a_read_that_fails_is_not_remembered(cache: AccountCache):
    async def fail() -> SignedInAccount | None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        await cache.get("ada", fail)
    assert await cache.get("ada", Reads(found())) == found()


async def test_asking_again_reads_nothing_until_the_lifetime_is_over(
    cache: AccountCache, clock: ManualClock
):
    read = Reads(found())
    await cache.get("ada", read)
    await clock.advance(1.9)
    await cache.get("ada", read)
    assert read.count == 1
    await clock.advance(0.1)
    await cache.get("ada", read)
    assert read.count == 2


async def test_time_spent_reading_counts_as_age(cache: AccountCache, clock: ManualClock):
    read = Reads(found())
    read.go.clear()
    slow = asyncio.create_task(cache.get("ada", read))
    await clock.advance(1.5)
    read.go.set()
    await slow
    await clock.advance(0.5)
    await cache.get("ada", read)
    assert read.count == 2


async def test_what_was_written_is_read_again_at_once_and_only_that(cache: AccountCache):
    ada, bob = Reads(found()), Reads(found("bob"))
    await cache.get("ada", ada)
    await cache.get("bob", bob)
    cache.forget(["ada"])
    await cache.get("ada", ada)
    await cache.get("bob", bob)
    assert (ada.count, bob.count) == (2, 1)


async def test_a_read_begun_before_a_write_is_not_kept_after_it(cache: AccountCache):
    read = Reads(found())
    read.go.clear()
    slow = asyncio.create_task(cache.get("ada", read))
    await asyncio.sleep(0)
    read.answer = found(sessions=2)
    cache.forget(["ada"])
    read.go.set()
    assert await slow == found()
    assert await cache.get("ada", read) == found(sessions=2)


async def test_no_more_accounts_are_kept_than_allowed(cache: AccountCache, monkeypatch):
    monkeypatch.setattr(account_cache, "_MOST_ACCOUNTS", 2)
    reads = {name: Reads(found(name)) for name in ("ada", "bob", "cem")}
    for name, read in reads.items():
        await cache.get(name, read)
    for name in ("cem", "bob", "ada"):
        await cache.get(name, reads[name])
    assert [read.count for read in reads.values()] == [2, 1, 1]


async def test_an_account_signed_in_at_very_many_places_is_not_kept(cache: AccountCache):
    read = Reads(found(sessions=33))
    await cache.get("ada", read)
    await cache.get("ada", read)
    assert read.count == 2


async def test_a_lifetime_of_zero_keeps_nothing(clock: ManualClock):
    cache, read = AccountCache(clock, 0), Reads(found())
    await cache.get("ada", read)
    await cache.get("ada", read)
    assert read.count == 2
