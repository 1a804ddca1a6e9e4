"""Guessing is slowed down by name and by address, and nobody is locked out by others."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from services.common.call_context import client_address_var
from services.common.errors import ResourceExhausted
from services.user import throttle as module
from services.user.throttle import Registrations, Throttle

# Ten failures here, 30 of a name from everywhere, 100 from one address.
MOST, WINDOW = 10, 300.0


@contextmanager
def at(address: str | None) -> Iterator[None]:
    token = client_address_var.set(address)
    try:
        yield
    finally:
        client_address_var.reset(token)


def wait(throttle: Throttle, name: str, now: float = 0.0) -> float:
    """Return how long an attempt must wait; 0: it may pass."""
    try:
        throttle.not_made(throttle.begin(name, now), now)
    except ResourceExhausted as error:
        return error.retry_after or 0.0
    return 0.0


def fail(throttle: Throttle, name: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        throttle.begin(name, now)


def succeed(throttle: Throttle, name: str, now: float = 0.0) -> None:
    throttle.succeeded(throttle.begin(name, now), now)


@pytest.mark.parametrize("address", [None, "203.0.113.7"])
def test_so_many_failures_then_a_wait(address):
    throttle = Throttle(MOST, WINDOW)
    with at(address):
        fail(throttle, "ada", MOST - 1)
        assert not wait(throttle, "ada")
        fail(throttle, "ada", 1)
        needed = wait(throttle, "ada")
        assert needed == pytest.approx(WINDOW / MOST)
        assert wait(throttle, "ada", needed - 0.1)
        assert not wait(throttle, "ada", needed)
        assert not wait(throttle, "bob")


def test_success_forgets_the_failures_here():
    throttle = Throttle(MOST, WINDOW)
    with at("203.0.113.7"):
        fail(throttle, "ada", MOST - 1)
        succeed(throttle, "ada")
        fail(throttle, "ada", MOST - 1)
        assert not wait(throttle, "ada")


def test_one_address_that_tries_many_names_waits_for_all_of_them():
    throttle = Throttle(MOST, WINDOW)
    with at("203.0.113.7"):
        for number in range(10 * MOST):
            assert not wait(throttle, f"name{number}")
            fail(throttle, f"name{number}", 1)
        assert wait(throttle, "another")
    with at("203.0.113.8"):
        assert not wait(throttle, "another")


def test_many_addresses_that_try_one_name_wait_together():
    throttle = Throttle(MOST, WINDOW)
    for number in range(3 * MOST):
        with at(f"203.0.113.{number}"):
            assert not wait(throttle, "ada")
            fail(throttle, "ada", 1)
    with at("198.51.100.1"):
        assert wait(throttle, "ada")
        assert not wait(throttle, "bob")


def test_knocks_that_are_taken_back_make_nobody_forget_the_guesses_at_a_name():
    throttle = Throttle(MOST, WINDOW)
    for number in range(3 * MOST):
        with at(f"203.0.113.{number}"):
            fail(throttle, "ada", 1)
    with at("198.51.100.1"):
        # One more than are remembered, each refused before its password was looked at.
        for number in range(10_001):
            throttle.not_made(throttle.begin(f"name{number}", 0), 0)
        assert wait(throttle, "ada")


def test_nobody_is_locked_out_where_they_were_signed_in_before():
    throttle = Throttle(MOST, WINDOW)
    with at("198.51.100.1"):
        succeed(throttle, "ada")
    for number in range(3 * MOST):
        with at(f"203.0.113.{number}"):
            fail(throttle, "ada", 1)
    with at("198.51.100.2"):
        assert wait(throttle, "ada")
    with at("198.51.100.1"):
        assert not wait(throttle, "ada")
        fail(throttle, "ada", MOST)
        assert wait(throttle, "ada"), "guessing is slowed down there too"
    with at(None):
        assert not wait(throttle, "ada"), "nor on the machine itself"


def test_nor_where_they_proved_who_they_are_by_other_means():
    throttle = Throttle(MOST, WINDOW)
    for address in ("198.51.100.1", None):
        with at(address):
            throttle.seen("ada")
    for number in range(3 * MOST):
        with at(f"203.0.113.{number}"):
            fail(throttle, "ada", 1)
    with at("198.51.100.1"):
        assert not wait(throttle, "ada")
    with at("198.51.100.2"):
        assert wait(throttle, "ada")


def test_the_familiar_places_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_FAMILIAR", 2)
    throttle = Throttle(1, WINDOW)
    with at("198.51.100.1"):
        for name in ("ada", "bob", "eve"):
            succeed(throttle, name)
    for name in ("ada", "eve"):
        for number in range(3):
            with at(f"203.0.113.{number}"):
                fail(throttle, name, 1)
    with at("198.51.100.1"):
        assert wait(throttle, "ada")
        assert not wait(throttle, "eve")


def test_attempts_under_way_take_the_room_of_failures_until_they_succeed():
    throttle = Throttle(MOST, WINDOW)
    with at("203.0.113.7"):
        begun = [throttle.begin("ada", 0) for _ in range(MOST)]
        assert wait(throttle, "ada")
        throttle.succeeded(begun[0], 0)
        assert not wait(throttle, "ada")


def test_success_gives_back_what_it_took_of_the_address_and_of_the_name():
    throttle = Throttle(MOST, WINDOW)
    for number in range(300):
        with at("203.0.113.7"):
            succeed(throttle, f"name{number}")
    for number in range(100):
        with at(f"198.51.100.{number}"):
            succeed(throttle, "ada")


def test_signing_in_again_and_again_is_held_up_too_for_one_name_and_for_one_address():
    throttle = Throttle(MOST, WINDOW)
    with at("203.0.113.7"):
        for _ in range(3 * MOST):
            succeed(throttle, "ada")
        assert wait(throttle, "ada") == pytest.approx(WINDOW / MOST / 3)
        for number in range(27 * MOST):
            succeed(throttle, f"name{number}")
        assert wait(throttle, "another")
    with at("203.0.113.8"):
        assert not wait(throttle, "ada")


def test_who_is_signed_in_is_held_up_by_their_own_failures_alone():
    throttle = Throttle(MOST, WINDOW)
    with at("203.0.113.7"):
        fail(throttle, "ada", MOST)
        for number in range(9 * MOST):
            fail(throttle, f"name{number}", 1)
        for _ in range(MOST):
            throttle.begin_signed_in("the id of ada", 0)
        with pytest.raises(ResourceExhausted):
            throttle.begin_signed_in("the id of ada", 0)
        throttle.begin_signed_in("the id of bob", 0)
    with at("203.0.113.8"):
        with pytest.raises(ResourceExhausted):
            throttle.begin_signed_in("the id of ada", 0)
        assert not wait(throttle, "ada")


def test_so_many_accounts_an_hour_from_one_address_and_any_number_on_the_machine_itself():
    registrations = Registrations(3)
    with at("203.0.113.7"):
        for _ in range(3):
            registrations.admit(0)
        with pytest.raises(ResourceExhausted) as caught:
            registrations.admit(0)
        assert caught.value.retry_after == pytest.approx(1200)
        registrations.admit(1200)
    with at("203.0.113.8"):
        registrations.admit(0)
    with at(None):
        for _ in range(100):
            registrations.admit(0)
