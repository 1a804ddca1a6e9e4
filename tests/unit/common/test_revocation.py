"""A token ends with its sign-in, and a learner is not shut out because nobody can be asked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from services.common.call_context import Caller
from services.common.clock import ManualClock
from services.common.errors import Unauthenticated, Unavailable
from services.common.revocation import EndingWithSignIn, SignInsUnknownError

ISSUED_AT = 1_000_000


class Tokens:
    async def verify(self, token: str) -> Caller:
        if token == "forged":
            raise Unauthenticated("no", reason="TOKEN_INVALID")
        return Caller("ann", f"sign-in of {token}", token, ISSUED_AT)


class Known:
    def __init__(self) -> None:
        self.over: set[str] = set()
        self.asked = 0
        self.away = False
        self.since = 0.0

    async def ended(self, session_ids: Sequence[str]) -> set[str]:
        self.asked += 1
        if self.away:
            raise SignInsUnknownError(self.since)
        return self.over & set(session_ids)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def verifier(known: Known, clock: ManualClock) -> EndingWithSignIn:
    return EndingWithSignIn(Tokens(), known.ended, clock)


async def test_a_token_of_an_ended_sign_in_is_refused(verifier, known):
    known.over = {"sign-in of t"}
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await verifier.verify("t")
        assert caught.value.reason == "SESSION_ENDED"
    assert (await verifier.verify("u")).session_id == "sign-in of u"


async def test_of_a_live_one_nobody_is_asked_again_for_two_seconds(verifier, known, clock):
    await verifier.verify("t")
    known.over = {"sign-in of t"}
    await clock.advance(1.9)
    await verifier.verify("t")
    assert known.asked == 1
    await clock.advance(0.2)
    with pytest.raises(Unauthenticated):
        await verifier.verify("t")


async def test_while_nobody_can_be_asked_a_token_is_good_for_what_it_says(verifier, known):
    known.away = True
    assert (await verifier.verify("t")).user_id == "ann"
    known.away, known.over = False, {"sign-in of t"}
    with pytest.raises(Unauthenticated):
        await verifier.verify("t")


@pytest.mark.parametrize("since", [math.inf, ISSUED_AT + 60.0, float(ISSUED_AT), ISSUED_AT - 1.0])
async def test_a_token_of_before_redis_forgot_is_not_taken_while_nobody_can_be_asked(
    verifier, known, since
):
    """It may have been refused already. Clocks differ, and the moment has a width."""
    known.away, known.since = True, since
    with pytest.raises(Unavailable) as caught:
        await verifier.verify("t")
    assert (caught.value.reason, caught.value.retryable) == ("PEER_UNAVAILABLE", True)
    known.away = False
    assert (await verifier.verify("t")).user_id == "ann"


async def test_a_token_of_after_that_is(verifier, known):
    known.away, known.since = True, ISSUED_AT - 10.0
    assert (await verifier.verify("t")).user_id == "ann"


async def test_what_is_no_token_asks_nobody(verifier, known):
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify("forged")
    assert caught.value.reason == "TOKEN_INVALID"
    assert known.asked == 0
