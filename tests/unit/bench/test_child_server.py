"""A benchmark's servers: started, waited for, and stopped whatever happens."""

from __future__ import annotations

import sys

import psutil
import pytest

from bench.child_server import NotReadyError, running_child


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_one_that_ends_at_once_is_told_of():
    with pytest.raises(NotReadyError), running_child(python("print('no')"), 10):
        pass


def test_one_that_never_gets_ready_is_stopped():
    with pytest.raises(NotReadyError), running_child(python("input()"), 0.1):
        pass


def test_what_it_says_before_it_is_ready_is_passed_over_and_it_ends_with_the_block():
    code = "import time; print('hello'); print('ready 4711', flush=True); time.sleep(60)"
    with running_child(python(code), 10) as server:
        assert server.port == 4711
        assert psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(server.pid)


def test_one_that_does_not_listen_to_the_request_to_stop_is_killed(monkeypatch):
    monkeypatch.setattr("bench.child_server._STOP_TIMEOUT_S", 0.1)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('ready 1', flush=True); time.sleep(60)"
    )
    with running_child(python(code), 10) as server:
        pass
    assert not psutil.pid_exists(server.pid)
