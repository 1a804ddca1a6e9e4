"""Lateness as a listener hears it, and the search for the capacity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

import bench.sessions
from bench.sessions import Served, find_capacity, missed_budgets
from bench.sessions_cpu import CpuUse
from bench.sessions_load import (
    CYCLE_S,
    FRAME_S,
    Lateness,
    LoadedSession,
    phases,
    place_s,
    step_of,
    weighted_percentile,
)
from bench.sessions_verdict import verdict


class Still(LoadedSession):
    """A session without a connection."""

    async def open(self) -> None: ...
    async def send(self, frame: int, pcm: bytes) -> None: ...
    async def listen(self) -> None: ...
    async def finish(self) -> None: ...

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


def test_a_seed_gives_every_system_the_same_places_and_another_seed_others():
    assert phases(60, seed=7) == phases(60, seed=7)
    assert phases(60, seed=7) != phases(60, seed=8)


def test_more_sessions_join_those_of_a_smaller_count():
    assert phases(120, seed=7)[:33] == phases(33, seed=7)


@pytest.mark.parametrize("around", [CYCLE_S, FRAME_S])
def test_sessions_stand_anywhere_in_the_cycle_and_in_a_frame_and_so_together_too(around: float):
    """Strangers: the fullest tenth holds more than its share, and no tenth holds nobody."""
    places = [place_s(1_000.0, phase) % around / around for phase in phases(400, seed=0)]
    tenths = [sum(int(10 * place) == tenth for place in places) for tenth in range(10)]
    assert min(tenths) > 20
    assert max(tenths) > 45


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


def heard_by(sessions: int, *, late_s: float = 0.0, others_cores: float = 0.0, lost: bool = False):
    record = Lateness(late=[(late_s, 100)], waits=[0.25], sent_late=[0.0])
    return step_of(sessions, record, ["lost"] if lost else [], 0.5, others_cores)


class Server:
    """Stands in for what holds and records: carries `limit` sessions, and fails as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
        self.limit = limit
        self.tried: list[int] = []
        self.first_try: dict[str, Any] = {}
        monkeypatch.setattr(bench.sessions, "_hold", self.hold)
        monkeypatch.setattr(bench.sessions, "_record", self.record)
        self.served = Served("peer", Still, 0, None)
        self.held: list[int] = []
        self.places: list[list[float]] = []

    async def hold(self, served: Served, places: Sequence[float], listen: Any):
        self.held.append(len(places))
        self.places.append(list(places))
        await listen([Still(place) for place in places])

    async def record(
        self, served: Served, sessions: Sequence[LoadedSession], record: Lateness, seconds: float
    ):
        record.waits.append(0.25)
        count = len(sessions)
        again = count in self.tried
        self.tried.append(count)
        if self.first_try and count > 1 and not again:
            return heard_by(count, **self.first_try)
        return heard_by(count, late_s=0.0 if count <= self.limit else 1.0)


@pytest.mark.parametrize("limit", [0, 3, 4, 17, 60, 100])
async def test_the_capacity_is_found_within_its_resolution(
    monkeypatch: pytest.MonkeyPatch, limit: int
):
    capacity = await find_capacity(Server(monkeypatch, limit).served, 100, seed=0)
    assert capacity.sessions <= limit
    assert limit - capacity.sessions <= max(1, 0.06 * limit)
    assert capacity.wait_ms == pytest.approx(250)


@pytest.mark.parametrize(
    "stumble", [{"late_s": 1.0}, {"lost": True}, {"late_s": 1.0, "others_cores": 0.5}]
)
async def test_a_count_that_failed_once_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, stumble: dict[str, Any]
):
    server = Server(monkeypatch, 9)
    server.first_try = stumble
    assert (await find_capacity(server.served, 9, seed=0)).sessions == 9


async def test_a_count_that_failed_twice_undisturbed_is_given_up(monkeypatch: pytest.MonkeyPatch):
    server = Server(monkeypatch, 0)
    await find_capacity(server.served, 100, seed=0)
    assert server.tried.count(12) == 2
    # In one sitting: sessions that are open are listened to again.
    assert server.held.count(12) == 1


async def test_every_count_stands_at_the_places_of_the_seed(monkeypatch: pytest.MonkeyPatch):
    server = Server(monkeypatch, 17)
    await find_capacity(server.served, 100, seed=3)
    assert server.held
    assert all(places == phases(len(places), seed=3) for places in server.places)


async def test_a_count_that_lost_a_session_is_tried_again_with_new_ones(
    monkeypatch: pytest.MonkeyPatch,
):
    server = Server(monkeypatch, 9)
    server.first_try = {"lost": True}
    await find_capacity(server.served, 9, seed=0)
    assert server.tried.count(9) == 3
    assert server.held.count(9) == 2


@pytest.mark.parametrize(
    ("tries", "carried"),
    [
        ("", None),
        ("+", None),
        ("-", None),
        ("++", True),
        ("--", False),
        ("-+", None),
        ("-++", True),
        ("+--", False),
        ("+d", None),
        ("+dD", None),
        ("+dD+", True),
        ("+dDdD-", False),
        ("dddddd", False),
    ],
)
def test_the_median_of_three_undisturbed_tries_says_whether_a_count_is_carried(
    tries: str, carried: bool | None
):
    """`+` passed, `-` failed; `d` passed and `D` failed while others used the core."""
    kinds = {
        "+": heard_by(9),
        "-": heard_by(9, late_s=1.0),
        "d": heard_by(9, others_cores=0.5),
        "D": heard_by(9, late_s=1.0, others_cores=0.5),
    }
    assert verdict([kinds[each] for each in tries]) is carried


async def test_a_server_that_answers_nothing_has_no_capacity(monkeypatch: pytest.MonkeyPatch):
    async def hold(*_: Any) -> None: ...

    monkeypatch.setattr(bench.sessions, "_hold", hold)
    with pytest.raises(RuntimeError, match="answered nothing"):
        await find_capacity(Served("peer", Still, 0, None), 9, seed=0)


def test_a_late_load_or_a_shared_core_is_no_measure_of_the_server():
    assert heard_by(1).is_undisturbed
    assert not heard_by(1, others_cores=0.3).is_undisturbed
    late = Lateness(late=[(0.0, 100)], waits=[0.25], sent_late=[0.1])
    assert not step_of(1, late, [], 0.5).is_undisturbed


def test_a_process_is_told_from_the_others_on_its_core():
    before = CpuUse(10.0, {1: 5.0}, {1: "ai"}, 100.0)
    after = CpuUse(12.0, {1: 5.5, 2: 0.5}, {1: "ai", 2: "user"}, 101.5)
    assert before.until(after) == (pytest.approx(0.5), pytest.approx(0.25))
    assert before.by_name(after) == {"ai": pytest.approx(0.25), "user": pytest.approx(0.25)}


def result(**changes: Any) -> dict[str, Any]:
    kept = {
        "recording": False,
        "parley": {"sessions_per_core": 60},
        "ratio": 3.0,
        "overhead_p50_ms": 15.0,
        "overhead_p99_ms": 40.0,
    }
    return kept | changes


def test_budgets_that_are_just_kept_are_kept():
    assert missed_budgets(result()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"parley": {"sessions_per_core": 59}},
        {"ratio": 2.99},
        {"overhead_p50_ms": 15.1},
        {"overhead_p99_ms": 40.1},
    ],
)
def test_a_missed_budget_is_said(changes: dict[str, Any]):
    assert len(missed_budgets(result(**changes))) == 1


def test_what_records_is_not_compared_with_what_does_not():
    assert missed_budgets(result(recording=True, ratio=2.0)) == []
