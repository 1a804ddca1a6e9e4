"""Judging turn-taking: what counts as cut off, and from when a wait counts."""

from __future__ import annotations

import numpy as np
import pytest

from bench.live import RATE_HZ
from bench.report import Spread
from bench.turns import Point, beaten, judge, lost_on
from bench.turns_cases import Case


def case(name: str, *, paused: bool = False) -> Case:
    """Return ten seconds of audio whose speech ends after three."""
    pauses = ((1.0, 0.5),) if paused else ()
    return Case(name, np.zeros(10 * RATE_HZ, np.int16), 3.0, pauses)


def test_a_turn_that_never_ends_waits_until_the_audio_does():
    point = judge("parley", "x", [case("a")], {"a": []})
    assert point.missed == 1
    assert point.cutoff_rate == 0
    assert point.delays.p50 == pytest.approx(7000)


def test_a_turn_that_ends_before_the_speech_is_a_cut_off():
    point = judge("parley", "x", [case("a"), case("b")], {"a": [2.0, 3.4], "b": [3.2]})
    assert point.cutoff_rate == 0.5
    assert point.missed == 0


def test_a_cut_off_does_not_shorten_the_wait():
    point = judge("parley", "x", [case("a")], {"a": [2.9, 3.4]})
    assert point.delays.p50 == pytest.approx(400)


def test_the_first_turn_after_the_end_is_the_wait():
    point = judge("parley", "x", [case("a")], {"a": [3.4, 6.0]})
    assert point.delays.p50 == pytest.approx(400)


def test_cases_with_pauses_have_a_rate_of_their_own():
    cases = [case("plain"), case("paused", paused=True)]
    point = judge("parley", "x", cases, {"plain": [3.1], "paused": [1.4, 3.1]})
    assert point.cutoff_rate == 0.5
    assert point.cutoff_rate_paused == 1.0


def point(system: str, cutoff_rate: float, delay_ms: float) -> Point:
    return Point(system, "", cutoff_rate, cutoff_rate, Spread.of([delay_ms]), 0)


@pytest.mark.parametrize(
    ("cutoff_rate", "delay_ms", "better"),
    [(0.1, 300, True), (0.1, 500, False), (0.3, 300, False), (0.2, 300, False)],
)
def test_one_setting_must_be_better_in_both_at_once(
    cutoff_rate: float, delay_ms: float, better: bool
):
    points = [point("pipecat", 0.2, 400), point("parley", cutoff_rate, delay_ms)]
    assert beaten(points) is better


def test_two_settings_together_do_not_count_as_one():
    points = [point("pipecat", 0.2, 400), point("parley", 0.1, 900), point("parley", 0.4, 200)]
    assert not beaten(points)


def test_the_speech_that_no_weight_was_fitted_on_is_judged_by_itself():
    won = [point("pipecat", 0.2, 400), point("parley", 0.1, 300)]
    lost = [point("pipecat", 0.2, 400), point("parley", 0.1, 500)]
    assert lost_on(won, won) == []
    assert lost_on(won, lost) == ["the recordings that no weight was fitted on"]
    assert len(lost_on(lost, lost)) == 2


def test_a_folder_without_such_speech_is_judged_on_what_it_has():
    assert lost_on([point("pipecat", 0.2, 400), point("parley", 0.1, 300)], []) == []
