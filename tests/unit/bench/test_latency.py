"""The summary of bench-latency."""

from __future__ import annotations

import pytest

from bench.latency import summary, waits_of
from bench.live import Answer, Reply, Turn


def answer(wait_s: float | None, *, turns: int = 1) -> Answer:
    replies = []
    if wait_s is not None:
        replies = [Reply(1, 1, 10.0, sounding_at=10.0 + wait_s, first_audio_at=10.0 + wait_s)]
    each = [Turn(number, "words", 0, 0) for number in range(1, turns + 1)]
    return Answer(10.0, 0.0, turns=each, replies=replies)


def test_nothing_answered_is_an_error_not_a_zero():
    with pytest.raises(ValueError, match="no measurements"):
        summary([("a", answer(None))])


def test_an_unanswered_recording_is_counted_and_has_no_wait():
    said = [("a", answer(0.5)), ("b", answer(None))]
    assert waits_of(said) == [pytest.approx(500)]
    result = summary(said)
    assert (result["turns"], result["unanswered"], result["cut"]) == (1, 1, 0)
    assert result["p50_ms"] == pytest.approx(500)


def test_a_recording_that_was_cut_is_counted():
    assert summary([("a", answer(0.5, turns=2))])["cut"] == 1
