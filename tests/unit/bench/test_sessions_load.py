"""Lateness as a listener hears it, and the search for the capacity."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest

import bench.sessions
from bench.sessions import find_capacity
from bench.sessions_load import Lateness, LoadedSession, step_of, weighted_percentile


class Still(LoadedSession):
    """A session without a connection."""

    async def open(self) -> None: ...
    async def send(self, frame: int, pcm: bytes) -> None: ...
    async def listen(self) -> None: ...
    async def close(self) -> None: ...


class Clock:
    """Stands in for `time` in the module."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bench.sessions_load.time", clock)
    return clock


@pytest.fixture
def record() -> Lateness:
    return Lateness(wait_s=0.3)


@pytest.fixture
def session(clock: Clock, record: Lateness) -> Still:
    session = Still(0.0)
    session.record_to(record)
    session._spoken_at, session._heard_s, session._shift_s = clock.now, 0.0, -math.inf
    return session


def test_audio_before_any_question_is_not_counted(clock: Clock, record: Lateness):
    session = Still(0.0)
    session.record_to(record)
    session.heard(0.2)
    assert record.late == []


def test_an_answer_as_soon_as_from_the_idle_server_is_not_late(
    clock: Clock, session: Still, record: Lateness
):
    clock.now += 0.3
    session.heard(0.2)
    assert record.late == [(pytest.approx(0.0), 10)]
    assert record.waits == [pytest.approx(0.3)]


def test_audio_sent_ahead_is_no_earlier_than_it_sounds(
    clock: Clock, session: Still, record: Lateness
):
    clock.now += 0.35
    session.heard(0.2)
    session.heard(0.2)
    assert [late for late, _ in record.late] == [pytest.approx(0.05)] * 2


def test_a_player_that_ran_dry_stays_late(clock: Clock, session: Still, record: Lateness):
    clock.now += 0.3
    session.heard(0.2)
    clock.now += 0.5
    session.heard(0.2)
    session.heard(0.2)
    assert [late for late, _ in record.late] == [
        pytest.approx(0.0),
        pytest.approx(0.3),
        pytest.approx(0.3),
    ]


def test_an_answer_that_never_came_is_infinitely_late(session: Still, record: Lateness):
    session._close_answer()
    assert record.missing == 1
    assert weighted_percentile(record.late, 50) == math.inf


def test_a_lost_session_fails_the_step_whatever_the_others_heard():
    record = Lateness(late=[(0.0, 1000)], waits=[0.3], sent_late=[0.001])
    assert step_of(2, record, [], 0.1).p99_ms == 0.0
    assert step_of(2, record, ["lost"], 0.1).p99_ms == math.inf


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1.0), (50, 1.0), (90, 1.0), (91, 5.0), (100, 5.0)]
)
def test_percentiles_weigh_by_how_often(percent: float, expected: float):
    assert weighted_percentile([(5.0, 1), (1.0, 9)], percent) == expected


def test_no_measurement_is_infinitely_late():
    assert weighted_percentile([], 50) == math.inf


@pytest.mark.parametrize("limit", [0, 3, 4, 17, 60, 100])
async def test_the_capacity_is_found_within_its_resolution(
    monkeypatch: pytest.MonkeyPatch, limit: int
):
    async def hold(make: Any, count: int, record: Lateness, *_: Any) -> list[str]:
        record.waits = [0.25]
        record.sent_late = [0.0]
        record.late = [(0.0 if count <= limit else 1.0, 100)]
        return []

    monkeypatch.setattr(bench.sessions, "_hold", hold)
    capacity = await find_capacity("peer", Still, os.getpid(), 100)
    assert capacity.sessions <= limit
    assert limit - capacity.sessions <= max(1, 0.06 * limit)
    assert capacity.wait_ms == pytest.approx(250)


async def test_a_count_that_failed_once_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    tried: list[int] = []

    async def hold(make: Any, count: int, record: Lateness, *_: Any) -> list[str]:
        record.waits, record.sent_late, record.late = [0.25], [0.0], [(0.0, 100)]
        first = count not in tried
        tried.append(count)
        return ["lost"] if first and count > 1 else []

    monkeypatch.setattr(bench.sessions, "_hold", hold)
    assert (await find_capacity("peer", Still, os.getpid(), 9)).sessions == 9


async def test_a_server_that_answers_nothing_has_no_capacity(monkeypatch: pytest.MonkeyPatch):
    async def hold(*_: Any) -> list[str]:
        return []

    monkeypatch.setattr(bench.sessions, "_hold", hold)
    with pytest.raises(RuntimeError, match="answered nothing"):
        await find_capacity("peer", Still, os.getpid(), 9)
