"""What a comparison found, and its sums. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parley_cli.compare.words import error_count
from parley_cli.stages import StageView

# What a tokenizer makes of English, roughly: providers count what they made, and tell it to the
# server alone.
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for an hour heard, a million tokens made, a million characters spoken."""

    audio_hour: float = 0.0
    million_tokens: float = 0.0
    million_characters: float = 0.0

    @property
    def known(self) -> bool:
        """Whether the host wrote any of them down."""
        return any((self.audio_hour, self.million_tokens, self.million_characters))


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording, and what is said in it where that is known."""

    name: str
    path: Path
    duration_ms: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One recording through one engine. ``failure`` is empty where it was answered."""

    engine: str
    sample: Sample
    heard: str = ""
    reply: str = ""
    silence_ms: float | None = None
    stages: tuple[StageView, ...] = ()
    failure: str = ""
    reply_path: Path | None = None

    def cost(self, prices: Prices) -> float:
        """Return the estimate of what it cost, in US dollars."""
        return (
            self.sample.duration_ms / 3_600_000 * prices.audio_hour
            + len(self.reply) / _CHARACTERS_PER_TOKEN / 1e6 * prices.million_tokens
            + len(self.reply) / 1e6 * prices.million_characters
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """One engine over all recordings.

    ``word_error_rate`` is over those with known words; None where there are none. Times are
    medians; ``cost`` is US dollars for a hundred such turns, None where no price is known.
    """

    engine: str
    answered: int
    runs: int
    word_error_rate: float | None
    silence_ms: float | None
    stages_ms: dict[str, float]
    cost: float | None


def summary(engine: str, runs: Sequence[Run], prices: Prices) -> Summary:
    """Return the sums of one engine's runs."""
    own = [run for run in runs if run.engine == engine]
    answered = [run for run in own if not run.failure]
    counts = [error_count(run.sample.said, run.heard) for run in answered if run.sample.said]
    said = sum(words for _, words in counts)
    silences = [run.silence_ms for run in answered if run.silence_ms is not None]
    names = dict.fromkeys(stage.name for run in answered for stage in run.stages)
    stages = {
        name: statistics.median(
            stage.duration_ms for run in answered for stage in run.stages if stage.name == name
        )
        for name in names
    }
    cost = None
    if prices.known and answered:
        cost = 100 * statistics.mean(run.cost(prices) for run in answered)
    return Summary(
        engine=engine,
        answered=len(answered),
        runs=len(own),
        word_error_rate=sum(errors for errors, _ in counts) / said if said else None,
        silence_ms=statistics.median(silences) if silences else None,
        stages_ms=stages,
        cost=cost,
    )
