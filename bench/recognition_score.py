"""Word error rates of two sides that heard the same recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jiwer

from bench.recognition_normal_form import normal_form
from bench.speech import Utterance

# The age from which the corpus counts a speaker among the adults.
ADULT_AGE = 16


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Word error rates, 0 to 1 and above; None for a group that nobody belongs to."""

    everybody: float
    adults: float | None
    children: float | None

    def fields(self) -> dict[str, float]:
        """Return the JSON fields of `bench/README.md`."""
        named = {"wer": self.everybody, "wer_adults": self.adults, "wer_children": self.children}
        return {name: round(rate, 4) for name, rate in named.items() if rate is not None}


def error_rates(utterances: Sequence[Utterance], heard: Mapping[str, str]) -> ErrorRates:
    """Compare what was said with what was ``heard``, a transcript by recording's name.

    A recording that is missing from ``heard`` counts as heard empty. The rate of a group is that
    of all its words together, so long recordings count for more.
    """
    adults = [each for each in utterances if each.age is not None and each.age >= ADULT_AGE]
    children = [each for each in utterances if each.age is not None and each.age < ADULT_AGE]
    return ErrorRates(
        everybody=_rate(utterances, heard),
        adults=_rate(adults, heard) if adults else None,
        children=_rate(children, heard) if children else None,
    )


def _rate(utterances: Sequence[Utterance], heard: Mapping[str, str]) -> float:
    said = [normal_form(each.text) for each in utterances]
    got = [normal_form(heard.get(each.name, "")) for each in utterances]
    return float(jiwer.wer(said, got))
