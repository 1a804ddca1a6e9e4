"""What the fit counts as a pause and as an end, and that it finds what tells them apart."""

from __future__ import annotations

import numpy as np
import pytest

from bench.turns_cases import Case
from bench.turns_fit import fit, moments_of, separation
from bench.turns_parley import HeardCase
from tests.unit.bench.test_turns_parley import audio, models

LOUD, QUIET = True, False


async def test_the_end_and_the_own_pauses_of_a_recording_as_it_is_are_counted():
    case = Case(
        "one.wav:plain",
        audio((0.5, QUIET), (1.0, LOUD), (1.0, QUIET), (1.0, LOUD), (7.0, QUIET)),
        3.5,
        (),
    )
    found = await moments_of(HeardCase(models(), case))
    assert [moment.is_end for moment in found] == [False, True]
    assert {moment.recording for moment in found} == {"one.wav"}


async def test_of_a_recording_with_a_pause_cut_in_only_that_pause_is_counted():
    case = Case(
        "one.wav:2.40",
        audio(
            (0.5, QUIET), (1.0, LOUD), (1.0, QUIET), (1.0, LOUD), (2.4, QUIET), (1.0, LOUD),
            (7.0, QUIET),
        ),
        6.9,
        ((3.5, 2.4),),
    )  # fmt: skip
    (only,) = await moments_of(HeardCase(models(), case))
    assert not only.is_end


async def test_a_pause_too_short_for_the_second_question_is_not_counted():
    case = Case(
        "one.wav:plain", audio((0.5, QUIET), (1.0, LOUD), (0.25, QUIET), (1.0, LOUD)), 0.0, ()
    )
    assert await moments_of(HeardCase(models(), case)) == []


def test_what_tells_them_apart_gets_the_weight():
    random = np.random.default_rng(1)
    is_end = random.random(400) < 0.2
    rows = np.stack([is_end + random.normal(0, 0.3, 400), random.normal(0, 1, 400)], axis=1)
    weights, bias = fit(rows, is_end)
    assert weights[0] > 10 * weights[1] >= 0
    assert separation(rows @ weights + bias, is_end) > 0.95


def test_evidence_against_the_end_gets_no_weight():
    is_end = np.array([True, False] * 20)
    weights, _ = fit(np.where(is_end, 0.0, 1.0)[:, None], is_end)
    assert weights == pytest.approx(0.0)
    assert separation(np.zeros(40), is_end) == 0.5
