"""What a comparison found, and its sums. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parley.ai.v1.ai_pb2 import EnginePrice
from parley_cli.compare.words import error_count
from parley_cli.stages import StageView

# What a tokenizer makes of English, roughly.
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording, and what is said in it where that is known."""

    name: str
    path: Path
    duration_ms: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One recording through one engine. ``failure`` is empty where it was answered.

    ``heard`` is what was answered; ``stored`` what was kept of it, which a second hearing with more
    care may have changed.
    """

    engine: str
    sample: Sample
    heard: str = ""
    stored: str = ""
    reply: str = ""
    silence_ms: float | None = None
    stages: tuple[StageView, ...] = ()
    failure: str = ""
    reply_path: Path | None = None

    @property
    def stood_in(self) -> str:
        """Why others than the engine's first choices served; empty where none did."""
        return "; ".join(dict.fromkeys(stage.note for stage in self.stages if stage.note))

    def cost(self, price: EnginePrice, prompt_tokens: int) -> float:
        """Return the estimate of what it cost, in US dollars, where so many tokens were read."""
        return (
            self.sample.duration_ms / 3_600_000 * price.audio_hour
            + prompt_tokens / 1e6 * price.million_tokens_read
            + len(self.reply) / _CHARACTERS_PER_TOKEN / 1e6 * price.million_tokens
            + len(self.reply) / 1e6 * price.million_characters
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """One engine over all recordings.

    ``word_error_rate`` is over those with known words; None where there are none. So is
    ``stored_error_rate``, of what was kept; None also where nothing was heard a second time to
    another effect. Times are
    medians; ``cost`` is US dollars for a hundred such turns, None where no price is known. In
    ``stood_in`` of the answered ones another than a first choice served.
    """

    engine: str
    answered: int
    runs: int
    stood_in: int
    word_error_rate: float | None
    stored_error_rate: float | None
    silence_ms: float | None
    stages_ms: dict[str, float]
    cost: float | None


def summary(
    engine: str, runs: Sequence[Run], price: EnginePrice, prompt_tokens: int = 0
) -> Summary:
    """Return the sums of one engine's runs, of which each read about ``prompt_tokens``."""
    own = [run for run in runs if run.engine == engine]
    answered = [run for run in own if not run.failure]
    changed = any(run.stored != run.heard for run in answered)
    silences = [run.silence_ms for run in answered if run.silence_ms is not None]
    names = dict.fromkeys(stage.name for run in answered for stage in run.stages)
    stages = {
        name: statistics.median(
            stage.duration_ms for run in answered for stage in run.stages if stage.name == name
        )
        for name in names
    }
    cost = None
    if price != EnginePrice() and answered:
        cost = 100 * statistics.mean(run.cost(price, prompt_tokens) for run in answered)
    return Summary(
        engine=engine,
        answered=len(answered),
        runs=len(own),
        stood_in=sum(bool(run.stood_in) for run in answered),
        word_error_rate=_error_rate((run.sample.said, run.heard) for run in answered),
        stored_error_rate=_error_rate((run.sample.said, run.stored) for run in answered)
        if changed
        else None,
        silence_ms=statistics.median(silences) if silences else None,
        stages_ms=stages,
        cost=cost,
    )


def _error_rate(pairs: Iterable[tuple[str, str]]) -> float | None:
    """Return the share of words wrong, left out or put in, where it is known what was said."""
    counts = [error_count(said, heard) for said, heard in pairs if said]
    words = sum(words for _, words in counts)
    return sum(errors for errors, _ in counts) / words if words else None
