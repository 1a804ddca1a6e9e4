"""What a failed start shows of a log."""

from __future__ import annotations

from pathlib import Path

from launcher.readiness import tail_of


def test_the_tail_of_a_missing_log_is_told(tmp_path: Path):
    assert "empty" in tail_of(tmp_path / "none.log")


def test_the_tail_is_the_end_and_not_more(tmp_path: Path):
    log = tmp_path / "a.log"
    log.write_bytes(b"\xff" * 100_000 + b"\n" + b"".join(b"line %d\n" % n for n in range(100)))
    lines = tail_of(log).splitlines()
    assert lines[-1].strip() == "line 99"
    assert len(lines) == 20
