"""A leak shows, and what merely goes up and down does not."""

from __future__ import annotations

from random import Random

import pytest

from tests.fault.steady import Allowance, judge

ALLOWED = Allowance(share=0.05, at_least=3)


def test_what_goes_up_and_down_is_steady():
    random = Random(1)
    assert judge([100 + random.uniform(-20, 20) for _ in range(400)], ALLOWED).is_steady


def test_garbage_that_waits_for_its_collector_is_no_leak():
    assert judge([150.0 + each % 80 / 2 for each in range(240)], ALLOWED).is_steady
    leaking = [150 + each % 80 / 2 + each * 0.1 for each in range(240)]
    assert not judge(leaking, ALLOWED).is_steady


def test_warming_up_is_no_leak():
    samples = [min(each, 30) + 70.0 for each in range(120)]
    assert judge(samples, ALLOWED).is_steady


def test_a_slow_leak_is_seen_through_the_noise():
    random = Random(1)
    samples = [100 + each * 0.05 + random.uniform(-3, 3) for each in range(400)]
    verdict = judge(samples, ALLOWED)
    assert not verdict.is_steady
    assert verdict.last > verdict.first


def test_small_figures_have_room_for_a_few():
    assert judge([10] * 20 + [13] * 20, ALLOWED).is_steady
    assert not judge([10] * 20 + [14] * 20, ALLOWED).is_steady


def test_what_shrinks_is_steady():
    assert judge([100] * 20 + [10] * 20, ALLOWED).is_steady


def test_of_too_few_nothing_is_said():
    with pytest.raises(ValueError, match="too few"):
        judge([1.0] * 11, ALLOWED)
