"""Live sessions end with the sign-in that they are held with, and with no other."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.common.clock import ManualClock
from services.common.errors import Unavailable
from services.conversation.sign_ins import SignOuts


class Live:
    """What is asked of a live session."""

    def __init__(self, sign_in: str, *, ready: bool = True) -> None:
        self.sign_in = sign_in
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if ready:
            self.ready.set_result(None)
        self.over = False

    def sign_out(self) -> None:
        assert not self.over
        self.over = True


class Known:
    """The user service: which sign-ins are over, what was asked, and whether it answers."""

    def __init__(self) -> None:
        self.over: set[str] = set()
        self.asked: list[list[str]] = []
        self.away = False
        self.meanwhile: Any = None

    async def ended(self, session_ids: Sequence[str]) -> set[str]:
        self.asked.append(list(session_ids))
        if self.away:
            raise Unavailable("It is away.", reason="PEER_UNAVAILABLE")
        if self.meanwhile is not None:
            self.meanwhile()
        return self.over & set(session_ids)


def signing_out(live: list[Any], known: Known) -> SignOuts:
    return SignOuts(live, known, ManualClock())


async def test_those_of_an_ended_sign_in_end_and_no_others():
    live, known = [Live("a"), Live("b"), Live("a")], Known()
    known.over = {"a"}
    await signing_out(live, known).look()
    assert [each.over for each in live] == [True, False, True]
    assert known.asked == [["a", "b"]]


async def test_nobody_is_asked_where_nothing_is_live():
    over, known = Live("a"), Known()
    over.over = True
    await signing_out([over, Live("b", ready=False), Live("")], known).look()
    assert known.asked == []


async def test_no_call_asks_for_more_than_the_contract_allows():
    live, known = [Live(f"{i:04}") for i in range(1001)], Known()
    known.over = {"1000"}
    await signing_out(live, known).look()
    assert [len(each) for each in known.asked] == [1000, 1]
    assert [each.over for each in live].count(True) == 1


async def test_one_that_was_resumed_with_another_sign_in_meanwhile_goes_on():
    live, known = Live("a"), Known()
    known.over = {"a"}
    known.meanwhile = lambda: setattr(live, "sign_in", "b")
    await signing_out([live], known).look()
    assert not live.over


async def test_sessions_go_on_while_nobody_answers_and_end_when_somebody_does():
    live, known, clock = Live("a"), Known(), ManualClock()
    known.over, known.away = {"a"}, True
    running = asyncio.create_task(SignOuts([live], known, clock).run())  # type: ignore[list-item]
    await asyncio.sleep(0)
    await clock.advance(2)
    assert known.asked
    assert not live.over
    known.away = False
    await clock.advance(2)
    assert live.over
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
