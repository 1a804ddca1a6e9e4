"""Failures are counted by name and forgotten evenly."""

import pytest

from services.common.errors import ResourceExhausted
from services.user import throttle as module
from services.user.throttle import Throttle


def allowed(throttle: Throttle, key: str, now: float) -> bool:
    try:
        throttle.check(key, now)
    except ResourceExhausted:
        return False
    return True


def test_so_many_failures_then_a_wait():
    throttle = Throttle(3, 30)
    for _ in range(3):
        assert allowed(throttle, "ada", 0)
        throttle.failed("ada", 0)
    with pytest.raises(ResourceExhausted) as caught:
        throttle.check("ada", 0)
    assert caught.value.retry_after == pytest.approx(10)
    assert not allowed(throttle, "ada", 9.9)
    assert allowed(throttle, "ada", 10)


def test_names_are_counted_apart_and_success_forgets():
    throttle = Throttle(1, 30)
    throttle.failed("ada", 0)
    assert allowed(throttle, "bob", 0)
    assert not allowed(throttle, "ada", 0)
    throttle.succeeded("ada")
    assert allowed(throttle, "ada", 0)


def test_the_names_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    throttle = Throttle(1, 30)
    for name in ("ada", "bob", "eve"):
        throttle.failed(name, 0)
    assert allowed(throttle, "ada", 0)
    assert not allowed(throttle, "eve", 0)
