"""The benchmark's own sums: ratios, and which core serves."""

from __future__ import annotations

import os

import pytest

from bench.ghz import BUDGET, misses
from bench.ghz_load import Outcome
from bench.ghz_measure import Case, Cores, Round, Target, measure, result_of
from bench.report import Spread


def a_round(rate: float, cpu_ms: float = 1.0) -> Round:
    return Round(Outcome(int(rate), 1.0, Spread.of([1.0, 2.0])), cpu_ms)


def test_the_ratio_is_the_median_of_the_rounds_own_ratios_not_of_the_medians():
    """A neighbour that takes the core for one round must not decide the ratio."""
    result = result_of(
        {
            "direct": [a_round(800), a_round(90), a_round(800)],
            "bare": [a_round(1000), a_round(100), a_round(2000)],
        }
    )
    assert result["ratios_direct"] == [0.8, 0.9, 0.4]
    assert result["ratio_direct"] == 0.8


def test_by_cpu_time_a_server_that_was_kept_from_the_core_loses_nothing():
    """Another program that takes half of the core halves the rate, not what a call costs."""
    result = result_of({"direct": [a_round(100, 0.25)], "bare": [a_round(1000, 0.2)]})
    assert result["ratio_direct"] == 0.1
    assert result["cpu_ratio_direct"] == 0.8


def test_without_a_bare_server_there_is_no_ratio():
    result = result_of({"gateway": [a_round(2)]})
    assert not [name for name in result if "ratio" in name]
    assert result["gateway"]["rate"] == 2.0


def test_rate_and_cpu_time_are_medians_and_calls_are_summed():
    one = result_of({"direct": [a_round(10, 0.1), a_round(30, 0.5), a_round(20, 0.2)]})["direct"]
    assert (one["rate"], one["cpu_ms"], one["calls"]) == (20.0, 0.2, 60)
    assert one["rates"] == [10.0, 30.0, 20.0]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_servers_are_held_to_their_core_only_inside_the_block():
    before = os.sched_getaffinity(0)
    core = min(before)
    with Cores(core, None).serving():
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


def test_one_usable_core_pins_nothing(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3}, raising=False)
    assert Cores.choose() == Cores(None, None)


def test_servers_and_load_get_different_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, _cores: None, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {5, 2, 7}, raising=False)
    assert Cores.choose() == Cores(2, 5)


def test_the_gateway_is_held_against_the_same_gateway_and_against_the_bare_server():
    result = result_of(
        {
            "bare": [a_round(1000, 0.2)],
            "gateway": [a_round(400, 0.5)],
            "bare_gateway": [a_round(500, 0.4)],
        }
    )
    assert result["ratio_gateway"] == 0.8
    assert result["ratio_gateway_to_bare"] == 0.4
    assert result["cpu_ratio_gateway"] == 0.8
    assert "ratio_direct" not in result


def test_targets_take_turns_in_an_order_that_turns_about():
    called = []

    def call(target, seconds):
        called.append((target.name, seconds))
        return Outcome(1, 1.0, Spread.of([1.0]))

    targets = [Target(name, "", (os.getpid(),)) for name in ("direct", "bare")]
    measured = measure(Case(call, targets), rounds=2, seconds=3.0)
    assert called == [
        ("direct", 1.0),
        ("bare", 1.0),
        ("direct", 3.0),
        ("bare", 3.0),
        ("bare", 3.0),
        ("direct", 3.0),
    ]
    assert [len(rounds) for rounds in measured.values()] == [2, 2]


def test_calls_below_the_budget_are_named_reads_and_writes_alike_and_others_have_none():
    results = {
        "get_profile": {"ratio_direct": BUDGET - 0.01},
        "list_sessions": {"ratio_direct": BUDGET},
        "refresh": {"ratio_direct": 0.3},
        "converse": {"ratio_direct": 0.1},
        "login": {},
    }
    assert misses(results) == ["get_profile", "refresh"]
