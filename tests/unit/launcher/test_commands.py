"""`python -m launcher status` and `stop` where nothing runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.__main__ import main


def test_status_of_nothing_says_so(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status"]) == 3
    assert "does not run" in capsys.readouterr().out


def test_there_is_nothing_to_stop(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["stop"]) == 0
    assert "does not run" in capsys.readouterr().out


def test_a_wrong_setting_is_one_message_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PARLEY_READY_SECONDS", "soon")
    assert main(["status"]) == 2
    assert "PARLEY_READY_SECONDS" in capsys.readouterr().err
