"""A run of ghz: its command line, and what is made of its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.ghz_load import Load, LoadError, outcome

REPORT = {
    "count": 4,
    "total": 2_000_000_000,
    "errorDistribution": {},
    "details": [{"latency": milliseconds * 1_000_000} for milliseconds in (1, 2, 3, 10)],
}


def test_a_run_with_one_failed_call_has_no_rate():
    """A server that refuses at once would win every comparison."""
    report = {**REPORT, "errorDistribution": {"code = Unavailable": 1}}
    with pytest.raises(LoadError, match="1 of 4 failed: 1 times code = Unavailable"):
        outcome("get_profile", report)


@pytest.mark.parametrize("details", [None, []])
def test_a_run_without_calls_is_an_error(details):
    with pytest.raises(LoadError, match="no call was made"):
        outcome("get_profile", {**REPORT, "details": details})


def test_rate_and_latency_are_those_of_the_report():
    measured = outcome("get_profile", REPORT)
    assert measured.rate == 2.0
    assert (measured.latency.p50, measured.latency.p99) == (2.5, 10.0)


def test_every_run_is_bounded_and_waits_for_its_last_calls():
    """Calls that are cut at the end would be counted as failures."""
    command = Load("get_jwks", 3, 16, 4).command(Path("ghz"), "127.0.0.1:1", {})
    assert "--duration=3s" in command
    assert "--duration-stop=wait" in command
    assert command[-1] == "127.0.0.1:1"


def test_held_to_a_core_ghz_also_uses_one_thread_of_go():
    command = Load("get_jwks", 3, 16, 4, cpu=1).command(Path("ghz"), "127.0.0.1:1", {})
    assert command[:4] == ["taskset", "--cpu-list", "1", "ghz"]
    assert "--cpus=1" in command


def test_secrets_are_named_by_file_and_the_rate_is_capped():
    files = {"metadata-file": Path("m.json"), "data-file": Path("d.json")}
    command = Load("login", 3, 2, 2, rps=2).command(Path("ghz"), "127.0.0.1:1", files)
    assert {"--metadata-file=m.json", "--data-file=d.json", "--rps=2"} <= set(command)
