"""The models that take turns, with a stopwatch on their computing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from parley_models import ModelStore, Role
from services.ai.adapters.registry import (
    LANGUAGE_MODELS,
    RECOGNIZERS,
    TURN_DETECTORS,
    VOICE_ACTIVITY,
    LocalRuntime,
)
from services.ai.capabilities import (
    LanguageModel,
    Pcm16,
    Recognizer,
    TurnDetector,
    VoiceActivityDetector,
)
from services.ai.compute import ComputePool
from services.ai.turn_taking import VOICE_ON

P = ParamSpec("P")
R = TypeVar("R")


class MeteredPool(ComputePool):
    """Runs each call at once, and remembers what it cost: seconds of its own thread's CPU.

    The models are single-threaded, so on a free core that is how long the call takes; and unlike
    the clock it is not moved by what else the machine does.
    """

    def __init__(self) -> None:
        super().__init__(size=1, max_waiting=1)
        self.cost_s = 0.0

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `call` on this thread."""
        started = time.thread_time()
        result = call(*args, **kwargs)
        self.cost_s = time.thread_time() - started
        return result


@dataclass(frozen=True, slots=True)
class TurnModels:
    """The models that take turns, and the pool that measures them.

    Without a language model turns are taken without its opinion.
    """

    voice_activity: VoiceActivityDetector
    turn_detector: TurnDetector
    recognizer: Recognizer
    pool: MeteredPool
    language_model: LanguageModel | None = None
    language_threads: int = 1

    def voice_end(self, samples: Pcm16) -> int | None:
        """Return one past the last frame of voice; None where there is none."""
        return _voice_end(self.voice_activity, samples)


def load_voice_end(store: ModelStore, preset: str) -> Callable[[Pcm16], int | None]:
    """Load the voice detector of a preset alone; return what tells where it hears the last voice.

    Raises `parley_models.ModelsError`.
    """
    name = store.require(preset).roles[Role.VAD]
    runtime = LocalRuntime(MeteredPool(), sessions=1, context_tokens=1, language_model_threads=1)
    return partial(_voice_end, VOICE_ACTIVITY[name](store.path(name), runtime))


def _voice_end(voice_activity: VoiceActivityDetector, samples: Pcm16) -> int | None:
    """Return one past the last frame of voice; as in a talk, a single frame is a click and none."""
    frame = voice_activity.capabilities.frame_samples
    stream = voice_activity.open()
    frames = samples[: len(samples) - len(samples) % frame].reshape(-1, frame)
    voiced = [stream.probability(each) >= VOICE_ON for each in frames]
    last = max((i for i in range(1, len(voiced)) if voiced[i - 1] and voiced[i]), default=None)
    return None if last is None else (last + 1) * frame


def load_turn_models(
    store: ModelStore, preset: str, *, language_threads: int | None = None
) -> TurnModels:
    """Load what taking turns needs of a preset.

    With its language model where `language_threads` says on how many threads that runs. (Settings
    are not read here: where Pipecat is, what reads them is not installed.)

    Raises `parley_models.ModelsError`.
    """
    names = store.require(preset).roles
    pool = MeteredPool()
    threads = language_threads or 1
    runtime = LocalRuntime(pool, sessions=1, context_tokens=1024, language_model_threads=threads)

    voice, turn, words = (names[role] for role in (Role.VAD, Role.END_OF_TURN, Role.RECOGNIZER))
    language = names[Role.LANGUAGE_MODEL]
    return TurnModels(
        voice_activity=VOICE_ACTIVITY[voice](store.path(voice), runtime),
        turn_detector=TURN_DETECTORS[turn](store.path(turn), runtime),
        recognizer=RECOGNIZERS[words](store.path(words), runtime),
        pool=pool,
        language_model=(
            LANGUAGE_MODELS[language](store.path(language), runtime)
            if language_threads is not None
            else None
        ),
        language_threads=threads,
    )
