"""Chooses the next token from the logits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Small models fall into saying their last reply again. This mild penalty over about the last turn
# makes that rarer; from 1.1 on it drives replies away from the learner's own words, and long.
_REPEAT_PENALTY = 1.05
REPEAT_LAST_TOKENS = 64
# Tokens less likely than this share of the likeliest are noise of a small model (min-p sampling,
# Nguyen et al. 2024); llama.cpp's server has the same defaults for this and the next.
_MIN_SHARE = 0.05
_MAX_CANDIDATES = 40

Logits = npt.NDArray[np.float32]


@dataclass(slots=True)
class Sampler:
    """The sampling of one reply; ``seed`` makes it repeatable, temperature 0 takes the likeliest.

    ``not_first`` are tokens that the reply does not begin with.

    The unlikely are dropped first: what remains of a vocabulary of 150,000 is a handful, so that a
    choice takes a fifth of a millisecond.
    """

    temperature: float
    top_p: float
    random: random.Random
    not_first: frozenset[int] = frozenset()

    @classmethod
    def seeded(
        cls,
        temperature: float,
        top_p: float,
        seed: int | None,
        not_first: frozenset[int] = frozenset(),
    ) -> Sampler:
        """Make a sampler; without a seed every reply differs."""
        return cls(temperature, top_p, random.Random(seed), not_first)

    def choose(self, logits: Logits, recent: Sequence[int]) -> int:
        """Return a token; ``recent`` are the tokens before it, of which the last are penalised.

        ``logits`` is written to.
        """
        repeated = np.fromiter(set(recent[-REPEAT_LAST_TOKENS:]), dtype=np.intp)
        if repeated.size:
            said = logits[repeated]
            logits[repeated] = np.where(said > 0, said / _REPEAT_PENALTY, said * _REPEAT_PENALTY)
        if self.not_first:
            logits[list(self.not_first)] = -np.inf
            self.not_first = frozenset()
        best = int(logits.argmax())
        if self.temperature <= 0:
            return best
        candidates = np.flatnonzero(logits >= logits[best] + np.log(_MIN_SHARE))
        scores = logits[candidates].astype(np.float64)
        order = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
        candidates, scores = candidates[order], scores[order] - scores[order[0]]
        # Top-p sampling (Holtzman et al. 2019): the likeliest that together have this probability.
        share = np.exp(scores)
        kept = 1 + int(np.searchsorted(np.cumsum(share) / share.sum(), self.top_p))
        weights = np.cumsum(np.exp(scores[:kept] / self.temperature))
        chosen = int(np.searchsorted(weights, self.random.random() * weights[-1], side="right"))
        return int(candidates[min(chosen, len(weights) - 1)])
