"""A session is claimed on its machine first, then told to the others; nothing stays claimed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from services.common.ids import new_id
from services.conversation.adapters.session_files import SessionFiles, place_id
from services.conversation.claims import HeldElsewhereError, ToldClaims


class Holders:
    """What other machines hold."""

    def __init__(self) -> None:
        self.elsewhere: dict[str, Mapping[str, str]] = {}
        self.held: list[str] = []
        self.slow = False

    async def take(self, thing: str) -> Mapping[str, str] | None:
        if self.slow:
            await asyncio.Event().wait()
        if thing in self.elsewhere:
            return self.elsewhere[thing]
        self.held.append(thing)
        return None

    async def give_back(self, thing: str) -> None:
        self.held.remove(thing)


@pytest.fixture
def holders() -> Holders:
    return Holders()


@pytest.fixture
def here(tmp_path) -> SessionFiles:
    return SessionFiles(tmp_path / "sessions", {"affinity": "here"})


@pytest.fixture
def beside(tmp_path, here) -> SessionFiles:
    """Return the locks of another process of this machine."""
    return SessionFiles(tmp_path / "sessions", {"affinity": "beside"})


def claims(locks: SessionFiles, holders: Holders | None) -> ToldClaims:
    return ToldClaims(locks, cast("Any", holders))


async def test_one_that_is_free_is_taken_and_told(here, beside, holders):
    session = new_id()
    mine = claims(here, holders)
    await mine.take(session)
    assert holders.held == [session]
    with pytest.raises(HeldElsewhereError):
        await claims(beside, holders).take(session)
    await mine.give_back(session)
    assert holders.held == []
    theirs = claims(beside, holders)
    await theirs.take(session)
    await theirs.give_back(session)


async def test_one_of_another_machine_is_not_taken_and_the_way_is_told(here, beside, holders):
    session = new_id()
    holders.elsewhere[session] = {"affinity": "there"}
    with pytest.raises(HeldElsewhereError) as caught:
        await claims(here, holders).take(session)
    assert caught.value.way == {"affinity": "there"}
    beside.take(session)
    beside.give_back(session)


async def test_whoever_goes_away_while_it_is_told_leaves_no_lock(here, beside, holders):
    session = new_id()
    holders.slow = True
    taking = asyncio.create_task(claims(here, holders).take(session))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait({taking})
    beside.take(session)
    beside.give_back(session)


async def test_taken_twice_it_is_told_until_it_is_given_back_twice(here, holders):
    session = new_id()
    mine = claims(here, holders)
    await mine.take(session)
    await mine.take(session)
    await mine.give_back(session)
    assert session in holders.held
    await mine.give_back(session)


async def test_without_a_redis_the_locks_decide_alone(here, beside):
    session = new_id()
    await claims(here, None).take(session)
    with pytest.raises(HeldElsewhereError):
        await claims(beside, None).take(session)
    await claims(here, None).give_back(session)
    await claims(beside, None).take(session)
    beside.give_back(session)


def test_processes_of_one_folder_have_one_place_and_those_of_two_have_two(tmp_path):
    here = place_id(tmp_path / "run")
    assert place_id(tmp_path / "run") == here
    assert place_id(tmp_path / "another") != here
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["place-id"]
