"""The choice of the next token."""

from collections import Counter

import numpy as np

from services.ai.adapters.llama_cpp.sampling import Sampler

SIZE = 1000


def logits(**values: float) -> np.ndarray:
    row = np.full(SIZE, -10.0, dtype=np.float32)
    for name, value in values.items():
        row[int(name[1:])] = value
    return row


def test_temperature_zero_takes_the_likeliest():
    sampler = Sampler.seeded(0.0, 0.9, None)
    assert {sampler.choose(logits(t5=2.0, t7=2.1), []) for _ in range(20)} == {7}


def test_a_seed_makes_choices_repeatable():
    def chosen(seed: int) -> list[int]:
        sampler = Sampler.seeded(1.0, 1.0, seed)
        return [sampler.choose(logits(t1=3.0, t2=3.0, t3=3.0), []) for _ in range(30)]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)


def test_what_was_said_is_less_likely():
    sampler = Sampler.seeded(0.0, 1.0, None)
    assert sampler.choose(logits(t5=2.0, t7=2.05), [7]) == 5
    assert sampler.choose(logits(t5=-1.0, t7=-0.98), [7]) == 5


def test_only_the_last_tokens_count_as_said():
    sampler = Sampler.seeded(0.0, 1.0, None)
    assert sampler.choose(logits(t5=2.0, t7=2.05), [7, *[1] * 64]) == 7


def test_likelier_tokens_come_more_often_in_proportion():
    sampler = Sampler.seeded(1.0, 1.0, 3)
    counts = Counter(
        sampler.choose(logits(t1=float(np.log(0.75)), t2=float(np.log(0.25))), [])
        for _ in range(2000)
    )
    assert 0.7 < counts[1] / 2000 < 0.8


def test_top_p_keeps_the_likeliest_that_reach_it():
    sampler = Sampler.seeded(1.0, 0.5, 3)
    rows = [logits(t1=float(np.log(0.6)), t2=float(np.log(0.4))) for _ in range(50)]
    assert {sampler.choose(row, []) for row in rows} == {1}


def test_the_very_unlikely_never_come():
    sampler = Sampler.seeded(2.0, 1.0, 3)
    rows = [logits(t1=5.0, t2=1.9) for _ in range(300)]
    assert {sampler.choose(row, []) for row in rows} == {1}


def test_a_reply_does_not_begin_with_what_it_should_not():
    for temperature in (0.0, 0.4):
        sampler = Sampler.seeded(temperature, 0.9, 3, frozenset({7}))
        assert sampler.choose(logits(t5=2.0, t7=9.0), []) == 5
        # Only the beginning is bound.
        assert sampler.choose(logits(t5=2.0, t7=9.0), []) == 7
