"""Hashing: the same work for everybody, off the loop, a bounded number at a time."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import bcrypt
import pytest

from services.common.errors import ResourceExhausted
from services.user.passwords import PasswordHasher


@pytest.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    async with PasswordHasher.open(cost=4, workers=2, most_waiting=4) as hasher:
        yield hasher


async def test_a_hash_is_bcrypts_at_the_cost_that_was_set(hasher):
    stored = await hasher.hash("correct horse")
    assert stored.startswith(b"$2b$04$")
    assert stored != await hasher.hash("correct horse")
    assert await hasher.matches("correct horse", stored)
    assert not await hasher.matches("wrong horse", stored)


async def test_an_unknown_user_costs_the_same_work(hasher, monkeypatch):
    checked: list[bytes] = []
    real = bcrypt.checkpw

    def note(password: bytes, stored: bytes) -> bool:
        checked.append(stored)
        return real(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", note)
    known = await hasher.hash("correct horse")
    await hasher.matches("guess", known)
    assert not await hasher.matches("guess", None)
    assert len(checked) == 2
    assert checked[0][:7] == checked[1][:7], "the same algorithm at the same cost"


async def test_more_than_may_wait_are_refused_with_a_time(hasher, monkeypatch):
    results = await asyncio.gather(*(hasher.hash("x") for _ in range(10)), return_exceptions=True)
    refused = [each for each in results if isinstance(each, ResourceExhausted)]
    assert len(refused) == 6
    assert all(each.retry_after for each in refused)
    assert await hasher.hash("x"), "places are free again"


async def test_one_holder_fills_a_quarter_of_the_places_and_no_more():
    async with PasswordHasher.open(cost=4, workers=1, most_waiting=8) as hasher:
        together = (hasher.hash("x", ["one", number]) for number in range(8))
        results = await asyncio.gather(*together, return_exceptions=True)
        assert sum(isinstance(each, ResourceExhausted) for each in results) == 6
        again = [hasher.hash("x", [each]) for each in ("one", "one", "two", "two")]
        assert all(await asyncio.gather(*again)), "places are free again"


async def test_who_goes_away_leaves_the_place_when_the_thread_does(monkeypatch):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def held(password: bytes, stored: bytes) -> bool:
        begun.release()
        return go_on.wait(20)

    async with PasswordHasher.open(cost=4, workers=1, most_waiting=8) as hasher:
        monkeypatch.setattr(bcrypt, "checkpw", held)
        running = asyncio.create_task(hasher.matches("x", b"$2b$04$", ["one"]))
        await asyncio.to_thread(begun.acquire, timeout=20)
        waiting = asyncio.create_task(hasher.matches("x", b"$2b$04$", ["one"]))
        await asyncio.sleep(0)
        for each in (running, waiting):
            each.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        kept = asyncio.create_task(hasher.matches("x", b"$2b$04$", ["one"]))
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            await hasher.matches("x", b"$2b$04$", ["one"])
        go_on.set()
        assert await kept
        assert await hasher.matches("x", b"$2b$04$", ["one"])


@pytest.mark.parametrize("password", ["", "\0", "\ud800", "😀" * 300])
async def test_any_text_can_be_a_password(hasher, password: Any):
    assert await hasher.matches(password, await hasher.hash(password))


@pytest.mark.parametrize("stored_cost", [None, 4, 5, 6])
async def test_a_refusal_is_the_same_work_whatever_is_stored(monkeypatch, stored_cost):
    work = 0
    hashpw, checkpw = bcrypt.hashpw, bcrypt.checkpw

    def count(stored: bytes) -> None:
        nonlocal work
        work += 2 ** int(stored[4:6])

    def counted_hash(password: bytes, salt: bytes) -> bytes:
        count(salt)
        return hashpw(password, salt)

    def counted_check(password: bytes, stored: bytes) -> bool:
        count(stored)
        return checkpw(password, stored)

    old = None if stored_cost is None else hashpw(b"another", bcrypt.gensalt(stored_cost))
    async with PasswordHasher.open(cost=6, workers=1, most_waiting=4) as hasher:
        monkeypatch.setattr(bcrypt, "hashpw", counted_hash)
        monkeypatch.setattr(bcrypt, "checkpw", counted_check)
        assert not await hasher.matches("guess", old)
    assert work == 2**6


async def test_only_a_hash_of_less_work_is_made_anew(hasher):
    async with PasswordHasher.open(cost=5, workers=1, most_waiting=4) as stricter:
        old, new = await hasher.hash("correct horse"), await stricter.hash("correct horse")
        made = await stricter.upgraded("correct horse", old)
        assert made is not None
        assert made.startswith(b"$2b$05$")
        assert await stricter.matches("correct horse", made)
        assert await stricter.upgraded("correct horse", new) is None
        assert await hasher.upgraded("correct horse", new) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_hashing_gives_way_to_the_machines_other_work(hasher, monkeypatch):
    seen = []
    checkpw = bcrypt.checkpw

    def note(password: bytes, stored: bytes) -> bool:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return checkpw(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", note)
    here = os.getpriority(os.PRIO_PROCESS, 0)
    await hasher.matches("guess", None)
    assert seen == [max(here, 10)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == here
