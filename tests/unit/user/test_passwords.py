"""Hashing: the same work for everybody, off the loop, a bounded number at a time."""

import asyncio
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


@pytest.mark.parametrize("password", ["", "\0", "\ud800", "😀" * 300])
async def test_any_text_can_be_a_password(hasher, password: Any):
    assert await hasher.matches(password, await hasher.hash(password))
