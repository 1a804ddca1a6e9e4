"""A leak shows, what only goes up and down does not, and what nobody can tell is not steady."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.fault.steady import Allowance, Answer, judge

# As `make test-soak` allows memory: 20 MiB an hour in ten minutes, 4 in two hours.
MEMORY = Allowance(per_hour=4, in_all=20 / 6)
LOOKS = 240
TEN_MINUTES, TWO_HOURS = 1 / 6, 2.0
# A service's memory as it was seen: what is in progress adds to it, and its floor moves a little.
NOISE_MIB, FLOOR_MIB = 4.0, 0.3

Series = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def flat(hour: np.ndarray, random: np.random.Generator) -> np.ndarray:
    busy = random.exponential(NOISE_MIB, len(hour))
    return 150 + busy + random.normal(0, FLOOR_MIB, len(hour))


def leaks(per_hour: float) -> Series:
    return lambda hour, random: flat(hour, random) + per_hour * hour


def steps(by: float, at: float) -> Series:
    return lambda hour, random: flat(hour, random) + by * (hour > at * hour[-1])


def warms_up(hour: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return flat(hour, random) - 40 * np.maximum(0, 1 - 4 * hour / hour[-1])


def shrinks(hour: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return flat(hour, random) - 30 * hour / hour[-1]


def swings(minutes: float) -> Series:
    """Garbage gathers for so long, and is collected."""
    return lambda hour, random: flat(hour, random) + 30 * (hour * 60 / minutes % 1)


def answers(series: Series, hours: float) -> Iterator[Answer]:
    """Judge twenty runs that differ by chance."""
    hour = hours * (np.arange(LOOKS) + 0.5) / LOOKS
    for seed in range(20):
        samples = series(hour, np.random.default_rng(seed))
        yield judge(list(samples), hours, MEMORY).answer


@pytest.mark.parametrize("hours", [TEN_MINUTES, TWO_HOURS])
@pytest.mark.parametrize("series", [flat, warms_up, shrinks], ids=lambda one: one.__name__)
def test_what_stays_is_steady(series: Series, hours: float):
    found = list(answers(series, hours))
    assert found.count(Answer.STEADY) >= 19
    assert Answer.GROWING not in found


@pytest.mark.parametrize(
    ("per_hour", "hours"),
    [(30, TEN_MINUTES), (20, TEN_MINUTES), (130, TEN_MINUTES), (6, TWO_HOURS), (4, TWO_HOURS)],
)
def test_a_leak_of_so_much_an_hour_shows(per_hour: float, hours: float):
    found = list(answers(leaks(per_hour), hours))
    # At the bound itself chance calls one in forty steady.
    assert found.count(Answer.GROWING) >= 18
    assert found.count(Answer.STEADY) <= 1


def test_warming_up_and_then_leaking_is_a_leak():
    def both(hour: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return warms_up(hour, random) + 40 * hour

    assert set(answers(both, TEN_MINUTES)) == {Answer.GROWING}


@pytest.mark.parametrize("at", [0.5, 0.65, 0.9])
def test_a_step_is_never_called_steady(at: float):
    assert Answer.STEADY not in answers(steps(12, at), TEN_MINUTES)


def test_a_small_step_is_steady():
    assert list(answers(steps(0.5, 0.6), TEN_MINUTES)).count(Answer.STEADY) >= 19


def test_a_wave_hides_a_leak_in_a_short_run_and_that_is_said():
    assert Answer.STEADY not in answers(swings(3.5), TEN_MINUTES)


def test_a_wave_that_is_short_for_the_run_hides_nothing():
    assert list(answers(swings(3.5), TWO_HOURS)).count(Answer.STEADY) >= 18

    def leaking(hour: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return swings(3.5)(hour, random) + 8 * hour

    assert Answer.STEADY not in answers(leaking, TWO_HOURS)


def test_what_never_moves_is_known_exactly():
    verdict = judge([38.0] * LOOKS, TEN_MINUTES, MEMORY)
    assert (verdict.growth, verdict.noise, verdict.answer) == (0, 0, Answer.STEADY)


def test_one_file_a_minute_shows():
    files = Allowance(per_hour=6, in_all=5)
    samples = [30.0 + look // 24 for look in range(LOOKS)]
    verdict = judge(samples, TEN_MINUTES, files)
    assert verdict.answer is Answer.GROWING
    assert verdict.growth == pytest.approx(60, rel=0.1)
    assert verdict.last > verdict.first


def test_of_too_few_nothing_is_said():
    with pytest.raises(ValueError, match="too few"):
        judge([1.0] * 60, TEN_MINUTES, MEMORY)
