"""Beam search over decoders made of a table: what it finds, and what it never loses."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.adapters.beam_search import beam_search

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

    def likely(self, tokens: tuple[int, ...]) -> list[float]:
        scores = self.scores(tokens).astype(np.float64)
        return list(scores - np.log(np.exp(scores).sum()))

    def beginnings(self, length: int) -> list[tuple[tuple[int, ...], float]]:
        """Return all that may be said in ``length`` tokens and then go on, with its likelihood."""
        found: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
        for _ in range(length):
            found = [
                ((*tokens, token), likely + more)
                for tokens, likely in found
                for token, more in enumerate(self.likely(tokens))
                if token != END
            ]
        return found

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


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_what_as_many_beams_as_there_are_sentences_find_is_the_likeliest(seed: int, limit: int):
    limit = min(limit, 3)
    table = Table(seed, vocabulary=4)
    [best] = beam_search(table, width=4**3, limit=limit, count=1)[:1]
    finished = [
        (likely + table.likely(tokens)[END], tokens)
        for length in range(limit)
        for tokens, likely in table.beginnings(length)
    ]
    assert best.total == pytest.approx(max(finished)[0], abs=1e-4)
    assert best.tokens == max(finished)[1]


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 4), st.integers(1, 12))
def test_paths_come_likeliest_first_each_once_and_none_too_long(
    seed: int, width: int, count: int, limit: int
):
    found = beam_search(Table(seed), width=width, limit=limit, count=count)
    totals = [path.total for path in found]
    assert totals == sorted(totals, reverse=True)
    assert len({path.tokens for path in found}) == len(found)
    assert all(len(path.tokens) <= limit for path in found)
    assert all(len(path.log_probabilities) - len(path.tokens) in (0, 1) for path in found)


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_asking_for_more_than_the_best_changes_nothing_about_it(seed: int, width: int):
    one = beam_search(Table(seed), width=width, limit=12, count=1)
    more = beam_search(Table(seed), width=width, limit=12, count=width)
    assert len(one) <= len(more)
    if len(more[0].log_probabilities) > len(more[0].tokens):
        assert more[0] == one[0]


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


def test_a_sentence_that_is_said_again_and_again_does_not_win():
    class Stammering(Table):
        """The end is not sure, and what begins again is: the mean of a loop is the better one."""

        def scores(self, tokens: tuple[int, ...]) -> np.ndarray:
            if not tokens:
                return np.log(np.array([1e-9, 0.5, 0.5], np.float32))
            if len(tokens) % 3:
                return np.log(np.array([1e-9, 1.0, 1e-9], np.float32))
            return np.log(np.array([0.4, 0.3, 0.3], np.float32))

    best = beam_search(Stammering(0), width=3, limit=30)[0]
    assert len(best.tokens) == 3


@given(st.integers(0, 200))
def test_what_is_far_behind_is_not_followed(seed: int):
    table = Table(seed)
    rows: list[int] = []
    extend = table.extend

    def counted(parents: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        rows.append(len(tokens))
        return extend(parents, tokens)

    table.extend = counted  # type: ignore[method-assign]
    beam_search(table, width=5, limit=6, margin=0.0)
    assert set(rows) <= {1}
    wide = beam_search(Table(seed), width=5, limit=6, margin=1000.0)
    assert wide == beam_search(Table(seed), width=5, limit=6)
