"""What a failed start shows of a log."""

from __future__ import annotations

from pathlib import Path

from launcher.readiness import _accepts, tail_of
from tests.sockets import answering, free_socket


def test_the_tail_of_a_missing_log_is_told(tmp_path: Path):
    assert "empty" in tail_of(tmp_path / "none.log")


def test_the_tail_is_the_end_and_not_more(tmp_path: Path):
    log = tmp_path / "a.log"
    log.write_bytes(b"\xff" * 100_000 + b"\n" + b"".join(b"line %d\n" % n for n in range(100)))
    lines = tail_of(log).splitlines()
    assert lines[-1].strip() == "line 99"
    assert len(lines) == 20


def test_a_gateway_whose_certificate_is_another_names_is_asked_over_its_socket():
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nLIVE\n"
    with answering(said) as (path, heard):
        assert _accepts(path)
    assert heard[0].startswith(b"GET /ready HTTP/1.1\r\n")


def test_one_that_does_not_answer_there_yet_or_has_none_is_not_ready():
    assert not _accepts(free_socket())
    assert not _accepts(None)
