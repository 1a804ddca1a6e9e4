"""Where a call came from, and how many may come from there."""

from dataclasses import replace

import pytest

from gateway.render import PROXIED
from services.common.clock import ManualClock
from services.common.errors import ResourceExhausted
from services.common.interceptors.pace import _PROXIED, CLIENT_ADDRESS_KEY, Pace, address_in
from services.common.limits import DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", None),
        ("::1", None),
        ("192.168.1.20", "192.168.1.20"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:127.0.0.1", None),
        ("nonsense", "unknown"),
        ("203.0.113.7, 127.0.0.1", "unknown"),
        ("", None),
        ("203.0.113.7 behind a proxy", "203.0.113.7"),
        ("127.0.0.1 behind a proxy", "127.0.0.1"),
        ("::1 behind a proxy", "::1"),
    ],
)
def test_an_address_is_known_as_its_subscriber_has_it(value, address):
    assert address_in({CLIENT_ADDRESS_KEY: value}) == address


@pytest.mark.parametrize(
    ("sign", "address"),
    [
        ({"x-forwarded-for": "127.0.0.1"}, None),
        ({"x-forwarded-for": "203.0.113.7,127.0.0.1"}, "127.0.0.1"),
        ({"x-real-ip": "203.0.113.7"}, "127.0.0.1"),
        ({"forwarded": "for=203.0.113.7"}, "127.0.0.1"),
        ({"via": "2.0 proxy"}, "127.0.0.1"),
        ({"via": ""}, None),
    ],
    ids=str,
)
def test_who_comes_through_an_unannounced_proxy_on_this_machine_is_limited(sign, address):
    """They came as this machine's own callers, of whom there is no limit."""
    assert address_in({CLIENT_ADDRESS_KEY: "127.0.0.1", **sign}) == address


def test_the_gateway_says_of_a_proxy_what_is_read_here():
    assert PROXIED == _PROXIED


def test_a_call_that_passed_no_gateway_has_no_address():
    assert address_in({}) is None


@pytest.mark.parametrize("admit", ["admit_user", "admit_address"])
async def test_five_seconds_worth_may_come_at_once_and_one_more_is_told_how_long(admit):
    limits = replace(DEFAULT_LIMITS, calls_per_user_per_second=2, calls_per_address_per_second=2)
    clock = ManualClock()
    call = getattr(Pace(limits, clock), admit)
    for _ in range(10):
        call("one")
    with pytest.raises(ResourceExhausted) as caught:
        call("one")
    assert caught.value.reason == "CALLS_TOO_FAST"
    assert caught.value.retry_after == pytest.approx(0.5)
    call("another")
    await clock.advance(0.5)
    call("one")


async def test_load_tests_can_turn_it_off():
    pace = Pace(replace(DEFAULT_LIMITS, calls_per_user_per_second=1), ManualClock(), on=False)
    for _ in range(100):
        pace.admit_user("one")
