"""What a learner may use in a day."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.ai.budgets import Budgets, Purse, Spent
from services.ai.engine import Used
from services.common.errors import ResourceExhausted

ANA, BEN = "ana", "ben"


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


def budgets(folder: Path, clock: Clock, **daily: float) -> Budgets:
    return Budgets(Spent(**daily), folder, clock)


@pytest.mark.parametrize(
    ("daily", "spent"),
    [
        ({"audio_s": 60.0}, Spent(audio_s=60.0)),
        ({"tokens": 100}, Spent(tokens=100)),
        ({"characters": 500}, Spent(characters=500)),
    ],
)
def test_a_budget_that_is_used_up_is_refused_until_midnight(
    tmp_path: Path, daily: dict[str, float], spent: Spent
):
    clock = Clock()
    kept = budgets(tmp_path, clock, **daily)
    kept.check(ANA)
    kept.add(ANA, spent)
    with pytest.raises(ResourceExhausted) as caught:
        kept.check(ANA)
    assert caught.value.reason == "DAILY_BUDGET_SPENT"
    assert caught.value.retry_after == 2 * 3600
    assert caught.value.metadata == {"budget": next(iter(daily))}
    kept.check(BEN)
    clock.at = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)
    kept.check(ANA)


def test_no_budget_and_nobody_are_never_refused(tmp_path: Path):
    kept = budgets(tmp_path, Clock())
    kept.add(ANA, Spent(1e6, 10**9, 10**9))
    kept.check(ANA)
    kept = budgets(tmp_path / "other", Clock(), tokens=1)
    kept.add("", Spent(tokens=5))
    kept.check("")


def test_a_restart_forgets_nothing_and_a_torn_line_harms_nothing(tmp_path: Path):
    clock = Clock()
    kept = budgets(tmp_path, clock, tokens=10)
    kept.add(ANA, Spent(tokens=4))
    kept.add(ANA, Spent(tokens=5, characters=7))
    (file,) = tmp_path.iterdir()
    with file.open("a") as torn:
        torn.write('["ana", 0, 1')
    again = budgets(tmp_path, clock, tokens=10)
    assert again.spent(ANA) == Spent(0.0, 9, 7)


def test_yesterdays_file_is_deleted(tmp_path: Path):
    clock = Clock()
    kept = budgets(tmp_path, clock, tokens=10)
    kept.add(ANA, Spent(tokens=4))
    clock.at = datetime(2026, 11, 25, 1, 0, tzinfo=UTC)
    kept.add(BEN, Spent(tokens=1))
    assert [each.name for each in tmp_path.iterdir()] == ["budgets-2026-11-25.jsonl"]


def test_a_folder_that_cannot_be_written_does_not_stop_the_talk(tmp_path: Path):
    (tmp_path / "file").write_text("")
    kept = budgets(tmp_path / "file" / "budgets", Clock(), tokens=3)
    kept.add(ANA, Spent(tokens=3))
    with pytest.raises(ResourceExhausted):
        kept.check(ANA)


def test_a_purse_pays_for_what_is_new_and_says_once_that_it_is_empty(tmp_path: Path):
    kept = budgets(tmp_path, Clock(), characters=10)
    purse, used = Purse(kept, ANA), Used(audio_in_ms=1500, output_tokens=3, characters=9)
    for _ in range(2):
        purse.pay(used)
        assert kept.spent(ANA) == Spent(1.5, 3, 9)
        assert not purse.runs_out()
    used.characters += 2
    purse.pay(used)
    assert kept.spent(ANA) == Spent(1.5, 3, 11)
    assert purse.runs_out()
    assert not purse.runs_out()
    assert purse.refusal is not None
