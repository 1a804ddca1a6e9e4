"""Buckets that leak: so much at once, so much a second, so many remembered."""

import pytest

from services.common import rates as module
from services.common.rates import Rates


def test_n_may_come_at_once_and_one_more_must_wait():
    rates = Rates(per_second=2, burst=3)
    assert [rates.take("ada", 0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]
    assert rates.take("bob", 0) == 0


def test_what_must_wait_is_not_counted_and_passes_after_the_wait():
    rates = Rates(per_second=2, burst=1)
    rates.take("ada", 0)
    for _ in range(100):
        assert rates.take("ada", 0.25) == pytest.approx(0.25)
    assert rates.take("ada", 0.5) == 0


def test_buckets_never_hold_less_than_nothing():
    rates = Rates(per_second=1, burst=2)
    rates.take("ada", 0)
    assert [rates.take("ada", 1_000) for _ in range(3)] == [0, 0, pytest.approx(1)]


def test_the_longest_quiet_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    rates = Rates(per_second=1, burst=1)
    for name in ("ada", "bob", "eve"):
        rates.take(name, 0)
    assert rates.take("bob", 0)
    assert rates.take("eve", 0)
    assert rates.take("ada", 0) == 0


def test_what_was_given_back_pushes_nobody_out(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    rates = Rates(per_second=1, burst=2)
    rates.take("ada", 0)
    rates.take("ada", 0)
    for number in range(3):
        rates.take(number, 0)
        rates.give_back(number, 0)
    assert rates.take("ada", 0) == pytest.approx(1)


def test_what_is_left_after_one_was_given_back_still_counts():
    rates = Rates(per_second=1, burst=2)
    rates.take("ada", 0)
    rates.take("ada", 0)
    rates.give_back("ada", 0)
    assert [rates.take("ada", 0) for _ in range(2)] == [0, pytest.approx(1)]
    rates.give_back("nobody", 0)
