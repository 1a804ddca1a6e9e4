"""One kind of error comes out by itself; everything else as it was raised."""

from __future__ import annotations

import asyncio

import pytest

from services.common.errors import ParleyError, Unavailable
from services.common.task_groups import unwrapped


async def fail(error: BaseException) -> None:
    raise error


async def grouped(*errors: BaseException) -> None:
    with unwrapped(ParleyError):
        async with asyncio.TaskGroup() as group:
            for error in errors:
                group.create_task(fail(error))


async def test_what_a_task_raised_comes_out_by_itself() -> None:
    with pytest.raises(Unavailable) as caught:
        await grouped(Unavailable("away", reason="PEER_UNAVAILABLE"))
    assert caught.value.reason == "PEER_UNAVAILABLE"


async def test_of_several_the_first_comes_out() -> None:
    with pytest.raises(Unavailable, match="first"):
        await grouped(*(Unavailable(each, reason="R") for each in ("first", "second")))


async def test_groups_within_groups_are_opened() -> None:
    with pytest.raises(Unavailable), unwrapped(ParleyError):
        await grouped(ExceptionGroup("inner", [Unavailable("away", reason="R")]))


async def test_another_error_is_never_hidden() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await grouped(Unavailable("away", reason="R"), ValueError("a bug"))
    assert caught.group_contains(ValueError)


async def test_an_error_that_no_group_holds_passes() -> None:
    with pytest.raises(KeyError), unwrapped(ParleyError):
        raise KeyError("a bug")
