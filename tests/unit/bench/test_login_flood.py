"""A flood of logins is judged only by a run that can tell."""

import math
from dataclasses import replace

import pytest

from bench.login_flood import BUDGET_MS, verdict
from bench.sessions_load import Step

GOOD = Step(
    sessions=20,
    p50_ms=1.0,
    p99_ms=BUDGET_MS,
    answers=100,
    missing=0,
    failed=0,
    failure="",
    sender_p99_ms=1.0,
    server_cores=0.5,
    others_cores=0.0,
)
LATE = replace(GOOD, p99_ms=BUDGET_MS + 0.1)


@pytest.mark.parametrize(
    ("quiet", "flood", "guesses"),
    [
        (LATE, GOOD, 100),
        (LATE, LATE, 100),
        (replace(GOOD, p99_ms=math.nan), GOOD, 100),
        (replace(GOOD, answers=0), GOOD, 100),
        (GOOD, replace(GOOD, missing=1), 100),
        (GOOD, replace(GOOD, failed=1, p99_ms=math.inf), 100),
        (GOOD, GOOD, 0),
    ],
)
def test_what_cannot_be_told_is_no_success(quiet: Step, flood: Step, guesses: int):
    status, said = verdict({"quiet": quiet, "flood": flood, "after": GOOD}, guesses)
    assert (status, said.partition(":")[0]) == (2, "Unusable")


def test_a_guess_that_was_not_refused_for_its_password_makes_the_run_unusable():
    why = "a login ended with UNAVAILABLE PEER_UNAVAILABLE, not BAD_CREDENTIALS."
    assert verdict({"quiet": GOOD, "flood": GOOD, "after": GOOD}, 100, why) == (
        2,
        f"Unusable: {why}",
    )


def test_talks_in_time_pass_and_talks_that_the_flood_made_late_do_not():
    assert verdict({"quiet": GOOD, "flood": GOOD, "after": GOOD}, 100) == (0, "")
    assert verdict({"quiet": GOOD, "flood": LATE, "after": GOOD}, 100)[0] == 1
