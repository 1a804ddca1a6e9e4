"""Beam search over decoders made of a table: what it finds, and what it never loses."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.adapters.beam_search import Path, beam_search

END = 0


class Table:
    """What may follow is drawn from the tokens so far, the same every time."""

    def __init__(self, seed: int, vocabulary: int = 6, spread: float = 2.0) -> None:
        self._seed = seed
        self._vocabulary = vocabulary
        self._spread = spread
        self.rows: list[tuple[int, ...]] = []
        self.steps = 0

    @property
    def end(self) -> int:
        return END

    def begin(self) -> np.ndarray:
        self.rows = [()]
        return self.scores(())

    def extend(self, parents: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        self.steps += 1
        self.rows = [
            (*self.rows[parent], token) for parent, token in zip(parents, tokens, strict=True)
        ]
        return np.stack([self.scores(row) for row in self.rows])

    def scores(self, tokens: tuple[int, ...]) -> np.ndarray:
        draw = np.random.default_rng([self._seed, *tokens])
        return draw.normal(0.0, self._spread, self._vocabulary).astype(np.float32)

    def greedy(self, limit: int) -> tuple[int, ...]:
        tokens: tuple[int, ...] = ()
        while len(tokens) < limit:
            token = int(self.scores(tokens).argmax())
            if token == END:
                break
            tokens = (*tokens, token)
        return tokens


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_one_beam_is_the_greedy_path(seed: int, limit: int):
    [found] = beam_search(Table(seed), width=1, limit=limit)
    assert found.tokens == Table(seed).greedy(limit)


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 12))
def test_more_beams_never_find_a_worse_sentence(seed: int, width: int, limit: int):
    [greedy] = beam_search(Table(seed), width=1, limit=limit)
    found = beam_search(Table(seed), width=width, limit=limit)
    assert found[0].score >= greedy.score - 1e-6
    assert greedy.tokens in [path.tokens for path in found]


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 12))
def test_paths_come_best_first_each_once_and_none_too_long(seed: int, width: int, limit: int):
    found = beam_search(Table(seed), width=width, limit=limit)
    scores = [path.score for path in found]
    assert scores == sorted(scores, reverse=True)
    assert len({path.tokens for path in found}) == len(found)
    assert all(len(path.tokens) <= limit for path in found)
    assert all(len(path.log_probabilities) - len(path.tokens) in (0, 1) for path in found)


def test_a_sentence_that_begins_doubtfully_is_found():
    class Doubtful(Table):
        """Greed takes 1 and ends badly; 2 is a little less likely, and all that follows is sure."""

        def scores(self, tokens: tuple[int, ...]) -> np.ndarray:
            if not tokens:
                return np.log(np.array([1e-9, 0.55, 0.45], np.float32))
            if tokens[0] == 1:
                return np.log(np.array([0.34, 0.33, 0.33], np.float32))
            return np.log(np.array([0.98, 0.01, 0.01], np.float32))

    assert beam_search(Doubtful(0), width=1, limit=5)[0].tokens[0] == 1
    best = beam_search(Doubtful(0), width=3, limit=5)[0]
    assert best.tokens == (2,)
    assert np.exp(best.log_probabilities) == pytest.approx([0.45, 0.98], abs=1e-3)


def test_a_search_that_is_stopped_gives_what_it_has():
    table = Table(4)
    found = beam_search(table, width=3, limit=50, stopped=lambda: table.steps >= 2)
    assert table.steps == 2
    assert found
    assert all(len(path.tokens) <= 3 for path in found)


def test_a_decoder_that_never_ends_is_ended():
    class Endless(Table):
        def scores(self, tokens: tuple[int, ...]) -> np.ndarray:
            scores = super().scores(tokens)
            scores[END] = -np.inf
            return scores

    found = beam_search(Endless(1), width=4, limit=9)
    assert {len(path.tokens) for path in found} == {9}


def test_the_score_does_not_favour_the_short():
    short = Path((1,), (-0.5, -0.5))
    long = Path((1, 2, 3), (-0.4, -0.4, -0.4, -0.4))
    assert long.score > short.score
