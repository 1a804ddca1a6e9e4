"""A full disk costs lines of logs, not the programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor import loggers

from launcher.supervisord import spare_the_programs

FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def _spared(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, name in (
        (loggers.Handler, "handleError"),
        (loggers.RotatingFileHandler, "doRollover"),
    ):
        monkeypatch.setattr(kind, name, getattr(kind, name))
    spare_the_programs()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[loggers.Logger]:
    log = loggers.getLogger()
    loggers.handle_file(log, str(tmp_path / "program.log"), "%(message)s\n", True, 100, 1)
    yield log
    log.close()


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_what_cannot_be_written_is_lost_and_nothing_else(
    log: loggers.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (handler,) = log.handlers
    with FULL.open("w") as nowhere, FULL.open("ab", buffering=0) as full:
        monkeypatch.setattr(sys, "stderr", nowhere)
        whole, handler.stream = handler.stream, full
        log.info("lost")
        handler.stream = whole
    log.info("there is room again")
    assert (tmp_path / "program.log").read_text() == "there is room again\n"


def test_a_new_file_that_cannot_be_made_is_made_later(
    log: loggers.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", _full)
        log.info("x" * 200)
        log.info("y" * 200)
    log.info("z" * 200)
    log.info("later")
    assert (tmp_path / "program.log").read_text().endswith("later\n")


def _full(*_arguments: object) -> None:
    raise OSError(28, "No space left on device")
