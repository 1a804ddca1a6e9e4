"""Asking Envoy's administration over its socket: what is no answer first."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.administration import AdministrationError, ask
from tests.sockets import answering, free_socket


def test_nobody_there_is_told():
    with pytest.raises(AdministrationError, match="does not answer /ready"):
        ask(free_socket(), "/ready")


def test_a_path_too_long_for_a_socket_is_told_as_any_other():
    with pytest.raises(AdministrationError, match="does not answer"):
        ask(Path("/" + "x" * 200), "/ready")


@pytest.mark.parametrize("said", [b"", b"no HTTP\r\n\r\n"], ids=["nothing", "no HTTP"])
def test_what_is_no_answer_is_told(said: bytes):
    with answering(said) as (path, _), pytest.raises(AdministrationError, match="does not answer"):
        ask(path, "/ready")


def test_a_refusal_is_told():
    said = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with answering(said) as (path, _), pytest.raises(AdministrationError, match="with 503"):
        ask(path, "/ready")


def test_it_asks_as_it_is_told_to_and_returns_the_answer():
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nOK\n"
    with answering(said) as (path, heard):
        assert ask(path, "/drain_listeners?graceful", method="POST") == b"OK\n"
    assert heard[0].startswith(b"POST /drain_listeners?graceful HTTP/1.1\r\n")
