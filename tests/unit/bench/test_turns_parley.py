"""Parley heard on the time line: turns end when the machine and the models' answers allow."""

from __future__ import annotations

import numpy as np
import pytest

from bench.live import RATE_HZ
from bench.turn_models import MeteredPool, TurnModels
from bench.turns_cases import Case
from bench.turns_parley import HeardCase, hear
from services.ai.adapters.scripted import ScriptedRecognizer, ScriptedTurnDetector, ScriptedVad
from services.ai.capabilities import Pcm16
from services.ai.script import RecognizerScript, Script, TurnDetectorScript


class SlowPool(MeteredPool):
    """Says of every call that it took a given time."""

    def __init__(self, cost_s: float) -> None:
        super().__init__()
        self.cost_s = cost_s


def models(score: float = 1.0, cost_s: float = 0.0, text: str = "I went home.") -> TurnModels:
    script = Script(
        recognizer=RecognizerScript(texts=(text,)), turn_detector=TurnDetectorScript(score=score)
    )
    return TurnModels(
        ScriptedVad(), ScriptedTurnDetector(script), ScriptedRecognizer(script), SlowPool(cost_s)
    )


def audio(*parts: tuple[float, bool]) -> Pcm16:
    return np.concatenate(
        [np.full(int(seconds * RATE_HZ), 9000 if loud else 0, np.int16) for seconds, loud in parts]
    )


def case(*parts: tuple[float, bool]) -> Case:
    return Case("case", audio(*parts), 0.0, ())


ONE = case((0.5, False), (1.0, True), (7.0, False))
WITH_PAUSE = case((0.5, False), (1.0, True), (2.0, False), (1.0, True), (7.0, False))


def test_silence_has_no_turn():
    assert hear(HeardCase(models(), case((5.0, False))), 0.5) == []


def test_a_finished_sentence_ends_soon_after_the_speech():
    ended = hear(HeardCase(models(), ONE), 0.5)
    assert len(ended) == 1
    assert 1.5 < ended[0] < 2.1


def test_the_models_time_is_waited_for():
    fast = hear(HeardCase(models(), ONE), 0.5)[0]
    slow = hear(HeardCase(models(cost_s=1.0), ONE), 0.5)[0]
    assert slow > fast + 0.5


def test_an_unfinished_sentence_is_waited_for():
    sure = hear(HeardCase(models(score=1.0), ONE), 0.5)[0]
    unsure = hear(HeardCase(models(score=0.0), ONE), 0.5)[0]
    assert unsure > sure + 0.5


def test_what_follows_a_cut_off_is_a_turn_of_its_own():
    ended = hear(HeardCase(models(score=1.0), WITH_PAUSE), 0.0)
    assert len(ended) == 2
    assert ended[0] < 3.5 < ended[1]


def test_patience_makes_one_turn_of_what_impatience_cuts():
    patient = hear(HeardCase(models(score=0.0), WITH_PAUSE), 1.0)
    assert len(patient) == 1
    assert patient[0] > 4.5


def test_a_turn_without_words_is_none():
    assert hear(HeardCase(models(text=" "), ONE), 0.5) == []


async def test_the_pool_measures_computing_not_waiting():
    pool = MeteredPool()
    try:
        assert await pool.run(sum, range(3)) == 3
        assert 0 <= pool.cost_s < 1
    finally:
        pool.close()


@pytest.fixture(autouse=True)
def closed_pools(monkeypatch: pytest.MonkeyPatch):
    """Pools of stand-ins start no thread; closing them keeps it so."""
    made: list[MeteredPool] = []
    original = MeteredPool.__init__

    def noting(self: MeteredPool) -> None:
        original(self)
        made.append(self)

    monkeypatch.setattr(MeteredPool, "__init__", noting)
    yield
    for pool in made:
        pool.close()
