"""The recognizers as a talk has them: sound as it comes, captions on the way, words at each pause.

What counts is the time from the end of speech to its words, of one thread: so much later the reply
is. It is measured at the last pause, where all that can be done before is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from bench.recognition_direct import CAREFUL, STORED, WHISPER, AtOnce, Hear, hear_again, whisper
from bench.speech import Utterance
from parley_models import ModelStore, Role, default_models_dir
from services.ai.adapters.registry import RECOGNIZERS, VOICE_ACTIVITY, LocalRuntime
from services.ai.audio import samples_of_ms
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    RecognitionSession,
    Recognizer,
    VoiceActivityDetector,
)
from services.ai.compute import ComputePool
from services.ai.engine import TurnTakingPreferences
from services.ai.engines.pipeline import CAPTION_EVERY, FIRST_CAPTION
from services.ai.engines.utterance import Utterance as Heard
from services.ai.turn_taking import (
    Effect,
    EndRequested,
    Paused,
    Resumed,
    Started,
    TurnTaking,
    VoiceFrame,
)

CLOSELY = "heard closely"
"""The recognizer that ``PARLEY_AI_HEAR_CLOSELY`` chooses."""

BEGINS_MS = (0, 5, 15)
"""So much later each recording begins in turn: a word or two more or fewer are wrong each time."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What a recognizer made of all recordings, by their names.

    ``after_end_s`` are the seconds of a thread from the end of each recording's speech to its
    words.
    """

    heard: dict[str, str] = field(default_factory=dict)
    after_end_s: dict[str, float] = field(default_factory=dict)


async def recognize_in_talks(
    preset: str, utterances: Sequence[Utterance]
) -> dict[str, tuple[Talk, ...]]:
    """Have each recognizer hear each recording as one turn, begun in turn at ``BEGINS_MS``.

    Returns by recognizer what it made of them from each beginning: that of ``preset``, and where
    their model is installed the one that hears closely, and what hears nothing before the end: the
    second hearing, and Whisper. They take turns at each recording, so that what else the machine
    does slows all. Nothing else may run in this process.

    Raises:
        parley_models.ModelMissingError: its text names the command that installs the models.
    """
    store = ModelStore(default_models_dir())
    names = store.require(preset).roles
    pool = ComputePool(1, 1)
    runtime = LocalRuntime(pool, sessions=1, context_tokens=1024, language_model_threads=1)
    detector = VOICE_ACTIVITY[names[Role.VAD]](store.path(names[Role.VAD]), runtime)
    ears = {"first hearing": runtime}
    at_the_end: dict[str, Hear] = {}
    words, spare = names[Role.RECOGNIZER], AtOnce()
    if not store.missing([CAREFUL]):
        careful = store.path(CAREFUL)
        ears[CLOSELY] = replace(runtime, careful=careful, pauses=detector)
        again = RECOGNIZERS[words](
            store.path(words), replace(runtime, careful=careful, spare=spare)
        )
        at_the_end[STORED] = lambda pcm: hear_again(again, pcm)
        at_the_end[WHISPER] = whisper(careful)
    recognizers = {ear: RECOGNIZERS[words](store.path(words), each) for ear, each in ears.items()}
    talks = {ear: tuple(Talk() for _ in BEGINS_MS) for ear in (*ears, *at_the_end)}
    try:
        for utterance in utterances:
            for ear, of_ear in talks.items():
                for begin_ms, talk in zip(BEGINS_MS, of_ear, strict=True):
                    pcm = np.asarray(utterance.samples, np.int16)[samples_of_ms(begin_ms) :]
                    if ear in at_the_end:
                        begun = time.process_time()
                        text = await at_the_end[ear](pcm)
                        took_s = time.process_time() - begun
                    else:
                        text, took_s = await _hear(recognizers[ear], detector, pool, pcm)
                    talk.heard[utterance.name] = text
                    talk.after_end_s[utterance.name] = took_s
    finally:
        pool.close()
        spare.close()
    return talks


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame of sound: where it ends, and what taking turns makes of it."""

    end: int
    effects: Sequence[Effect]


async def _hear(
    recognizer: Recognizer, detector: VoiceActivityDetector, pool: ComputePool, pcm: Pcm16
) -> tuple[str, float]:
    """Return the words at the last pause, and the seconds of a thread that they took."""
    size = detector.capabilities.frame_samples
    frames = list(_frames(detector, pcm))
    session: RecognitionSession | None = None
    text, took_s = "", 0.0
    next_caption = 0
    paused = False
    for index, frame in enumerate(frames):
        if session is not None:
            session.feed(pcm[frame.end - size : frame.end])
        for effect in frame.effects:
            match effect:
                case Started(start):
                    session = recognizer.open()
                    before = Heard.pre_roll_samples(start, frame.end)
                    session.feed(pcm[max(0, frame.end - -(-before // size) * size) : frame.end])
                    next_caption = start + FIRST_CAPTION
                case Paused() if session is not None:
                    paused = True
                    # Until what was given up has ended.
                    await pool.run(int)
                    begun = time.process_time()
                    with suppress(TimeoutError):
                        # Words that are there only after more was said are worth nothing.
                        async with asyncio.timeout(_pause_s(frames[index:])):
                            text = (await session.final()).verbatim
                    took_s = time.process_time() - begun
                case Resumed():
                    paused = False
                case _:
                    pass
        if session is not None and not paused and frame.end >= next_caption:
            next_caption = frame.end + CAPTION_EVERY
            await session.partial()
    if session is not None:
        session.close()
    return text, took_s


def _frames(detector: VoiceActivityDetector, pcm: Pcm16) -> Iterator[_Frame]:
    """Yield the frames of ``pcm``, and one more for its rest, where speech ends at the latest."""
    size = detector.capabilities.frame_samples
    voice = detector.open()
    # Nobody but the recording's end ends this turn.
    turns = TurnTaking(TurnTakingPreferences(push_to_talk=True, no_hints=True))
    for end in range(size, len(pcm) + 1, size):
        probability = voice.probability(pcm[end - size : end])
        yield _Frame(end, turns.handle(VoiceFrame(probability, size), end))
        if end + size > len(pcm):
            yield _Frame(end + size, turns.handle(EndRequested(), end))


def _pause_s(frames: Sequence[_Frame]) -> float | None:
    """Return how long the pause lasts that the first of ``frames`` begins; None: to the end."""
    for each in frames:
        if any(isinstance(effect, Resumed) for effect in each.effects):
            return (each.end - frames[0].end) / LEARNER_RATE_HZ
    return None
