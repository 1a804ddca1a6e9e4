"""A soak in which nothing works does not pass, nor one in which something grows."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest

from parley_cli.failures import CliFailure
from services.common.errors import NotFound, Unavailable
from tests.fault import soak
from tests.fault.load import KINDS, Done, reason_of
from tests.fault.world import PROGRAMS

SECONDS, LEARNERS = 600.0, 4
drawn = soak.draw


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "PICTURE", tmp_path / "soak.png")
    # Most look at no picture.
    monkeypatch.setattr(soak, "draw", lambda *_: None)


def much(**refused: int) -> Done:
    """Return what four learners do in ten minutes, and what was refused to those who talk."""
    done = Done()
    for kind in KINDS:
        done.well[kind], done.broken_off[kind] = 200, 80
    for reason, times in refused.items():
        done.refused["a talk by text", reason] = times
    return done


def flat() -> soak.Samples:
    return {(name, figure): [40.0] * 240 for name in PROGRAMS for figure in soak.ALLOWED}


def test_a_soak_in_which_everything_works_and_nothing_grows_passes(
    capsys: pytest.CaptureFixture[str],
):
    assert soak.report(much(), flat(), SECONDS, LEARNERS) == 0
    assert "WRONG" not in capsys.readouterr().out


def test_a_picture_is_left():
    drawn(flat(), SECONDS)
    assert soak.PICTURE.exists()


def test_a_soak_in_which_everything_is_refused_fails(capsys: pytest.CaptureFixture[str]):
    done = Done()
    done.refused["a talk by text", "DATABASE_UNAVAILABLE"] = 9_000
    assert soak.report(done, flat(), SECONDS, LEARNERS) == 1
    said = capsys.readouterr().out
    assert "WRONG: a talk by text was refused 9000 times: DATABASE_UNAVAILABLE" in said
    assert "WRONG: an upload was done 0 times, at least 20 is due" in said


def test_one_refusal_that_nobody_expects_fails_it():
    wrong = much(INTERNAL=1).wrong(SECONDS, LEARNERS)
    assert wrong == ["a talk by text was refused 1 times: INTERNAL"]


def test_a_refusal_that_the_documents_promise_is_expected_but_not_often():
    assert much(TOO_MANY_CONVERSATIONS=8).wrong(SECONDS, LEARNERS) == []
    (wrong,) = much(TOO_MANY_CONVERSATIONS=60).wrong(SECONDS, LEARNERS)
    assert wrong == "a talk by text was refused 60 times, and done 200"


@pytest.mark.parametrize("kind", KINDS)
def test_too_little_of_one_kind_fails_it(kind: str):
    done = much()
    done.well[kind] = 19
    assert done.wrong(SECONDS, LEARNERS) == [f"{kind} was done 19 times, at least 20 is due"]


def test_a_load_of_which_nothing_was_broken_off_is_not_this_load():
    done = much()
    del done.broken_off["an upload"]
    assert done.wrong(SECONDS, LEARNERS) == ["an upload was never broken off"]


@pytest.mark.parametrize("figure", soak.ALLOWED)
def test_a_figure_that_grows_fails_it(figure: str, capsys: pytest.CaptureFixture[str]):
    samples = flat()
    samples["history", figure] = [40.0 + 30 * look / 240 for look in range(240)]
    assert soak.report(much(), samples, SECONDS, LEARNERS) == 1
    said = capsys.readouterr().out
    assert said.count("GROWS") == 1
    assert "WRONG: a figure grows" in said


@pytest.mark.parametrize(
    "values", [[40.0] * 30, [40.0 + look // 80 % 2 * 9 for look in range(240)]], ids=["few", "wild"]
)
def test_where_nobody_can_tell_that_is_said(
    values: list[float], capsys: pytest.CaptureFixture[str]
):
    samples = flat()
    samples["history", "memory_mib"] = values
    assert soak.report(much(), samples, SECONDS, LEARNERS) == 2
    assert "UNCLEAR" in capsys.readouterr().out


def test_without_any_look_nobody_can_tell():
    assert soak.report(much(), {}, SECONDS, LEARNERS) == 2


def test_a_failure_is_counted_by_its_reason_however_it_comes():
    gone = NotFound("It is not there.", reason="RECORDING_NOT_FOUND")
    away = Unavailable("It does not answer.", reason="PEER_UNAVAILABLE")
    told = CliFailure("It is not there.")
    told.__cause__ = gone
    assert reason_of(gone) == reason_of(told) == "RECORDING_NOT_FOUND"
    both = ExceptionGroup("", [told, ExceptionGroup("", [away, gone])])
    assert reason_of(both) == "PEER_UNAVAILABLE, RECORDING_NOT_FOUND"
    assert reason_of(AssertionError("the session did not end")) == (
        "AssertionError: the session did not end"
    )
    assert reason_of(grpc.aio.UsageError()) == "UsageError"
