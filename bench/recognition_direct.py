"""The recognizers alone: each recording whole, in this process, with no service around them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from bench.speech import Utterance
from parley_models import ModelStore, Role, default_models_dir
from services.ai.adapters import beam_search as beams
from services.ai.adapters.registry import RECOGNIZERS, LocalRuntime
from services.ai.adapters.second_hearing import written
from services.ai.adapters.whisper_model import WhisperModel
from services.ai.audio import samples_of_ms, to_float
from services.ai.capabilities import HearsAgain, Pcm16, Recognizer
from services.ai.compute import ComputePool
from services.ai.spare_time import SpareTime

CAREFUL = "whisper-base-int8"
"""The model of the second hearing, and of the side that Parley is compared with."""

WHISPER = "Whisper base, five beams"
"""How that side is named."""

STORED = "stored"
"""The side that is heard a second time."""

_BEAMS = 5
_PAUSE_MS = 300

P = ParamSpec("P")
R = TypeVar("R")

Hear = Callable[[Pcm16], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Side:
    """What one way to hear made of all recordings, by their names, and the processor's seconds."""

    name: str
    heard: dict[str, str]
    cpu_s: float


class AtOnce(SpareTime):
    """Spare time of a process that does nothing else."""

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Make the call."""
        return call(*args, **kwargs)


async def recognize_directly(preset: str, utterances: Sequence[Utterance]) -> list[Side]:
    """Return what the recognizer of ``preset`` hears, the first time and again, and Whisper.

    The last two only where the model of the second hearing is installed.

    Raises:
        parley_models.ModelMissingError: its text names the command that installs the models.
    """
    store = ModelStore(default_models_dir())
    name = store.require(preset).roles[Role.RECOGNIZER]
    careful = None if store.missing([CAREFUL]) else store.path(CAREFUL)
    pool, spare = ComputePool(1, len(utterances)), AtOnce()
    try:
        runtime = LocalRuntime(
            pool,
            sessions=1,
            context_tokens=1024,
            language_model_threads=1,
            careful=careful,
            spare=spare,
        )
        recognizer = RECOGNIZERS[name](store.path(name), runtime)
        sides = [await _side("first hearing", utterances, lambda pcm: _first(recognizer, pcm))]
        if careful is not None:
            sides.append(await _side(STORED, utterances, lambda pcm: hear_again(recognizer, pcm)))
            sides.append(await _side(WHISPER, utterances, whisper(careful)))
        return sides
    finally:
        pool.close()
        spare.close()


async def _side(name: str, utterances: Sequence[Utterance], hear: Hear) -> Side:
    begin = time.process_time()
    heard = {each.name: await hear(np.asarray(each.samples, np.int16)) for each in utterances}
    return Side(name, heard, time.process_time() - begin)


async def _first(recognizer: Recognizer, pcm: Pcm16) -> str:
    session = recognizer.open()
    session.feed(pcm)
    heard = (await session.final()).verbatim
    session.close()
    return heard


async def hear_again(recognizer: Recognizer, pcm: Pcm16) -> str:
    """Return what ``recognizer`` makes of a whole recording when it hears it a second time."""
    session = recognizer.open()
    session.feed(pcm)
    heard = await session.again(()) if isinstance(session, HearsAgain) else None
    session.close()
    return "" if heard is None else heard.verbatim


def whisper(folder: Path) -> Hear:
    """Return Whisper with five beams over a whole recording, compared by their means."""
    model = WhisperModel(folder)

    async def hear(pcm: Pcm16) -> str:
        limit = model.token_limit(len(pcm))
        listening = model.listen(to_float(pcm))
        paths = beams.beam_search(listening, width=_BEAMS, limit=limit, count=_BEAMS)
        return written(max(paths, key=_mean).tokens, model.vocabulary)

    return hear


def _mean(path: beams.Path) -> float:
    """Return what Whisper's own decoder compares sentences by."""
    return path.total / len(path.log_probabilities)


def in_twos(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Join every two recordings, in their order, to a turn with a pause in it.

    A last one without a second is left out. Each has the name and the age of its first.
    """
    pause = np.zeros(samples_of_ms(_PAUSE_MS), np.int16)
    return [
        Utterance(
            one.name,
            np.concatenate([one.samples, pause, other.samples]),
            f"{one.text} {other.text}",
            one.age,
        )
        for one, other in zip(utterances[::2], utterances[1::2], strict=False)
    ]
