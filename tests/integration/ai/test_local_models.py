"""The real models of the `test` preset, from speech in a file to speech in memory."""

import asyncio
import wave
from pathlib import Path

import numpy as np
import psutil
import pytest

from parley_models import ModelMissingError, ModelStore, default_models_dir
from services.ai.adapters.local import load_local_models
from services.ai.adapters.registry import LocalRuntime
from services.ai.capabilities import GenerationOptions, Message, ProviderBusyError, Role
from services.ai.compute import ComputePool
from services.ai.engine import (
    Audio,
    EndInput,
    LongSilence,
    ReplyAudio,
    ReplyEnded,
    SessionConfig,
    TurnCommitted,
)
from services.ai.engines.pipeline import PipelineEngine, PipelineModels

pytestmark = [
    pytest.mark.models,
    pytest.mark.leaves_behind("the models of the module keep their threads until its end"),
]

SPEECH = Path(__file__).parents[2] / "data" / "speech" / "000360210.wav"


@pytest.fixture(scope="module")
def models():
    store = ModelStore(default_models_dir())
    try:
        store.require("test")
    except ModelMissingError as error:
        pytest.skip(str(error))
    pool = ComputePool(2, 16)
    made = load_local_models(store, "test", LocalRuntime(pool, 1, 2048, 2))
    yield made
    made.language_model.close()  # type: ignore[attr-defined]
    pool.close()


def recording() -> np.ndarray:
    with wave.open(str(SPEECH), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


async def test_voice_is_found_where_it_is_and_not_in_silence(models: PipelineModels):
    stream = models.voice_activity.open()
    size = models.voice_activity.capabilities.frame_samples
    audio = recording()
    voiced = [stream.probability(audio[i : i + size]) for i in range(0, len(audio) - size, size)]
    stream.reset()
    quiet = [stream.probability(np.zeros(size, np.int16)) for _ in range(30)]
    assert max(voiced) > 0.9
    assert max(quiet[5:]) < 0.2


async def test_a_finished_sentence_is_more_finished_than_half_of_it(models: PipelineModels):
    audio = recording()
    whole = await models.turn_detector.end_of_turn(audio)
    half = await models.turn_detector.end_of_turn(audio[: len(audio) // 2])
    assert 0.0 <= half < whole <= 1.0


async def test_a_recording_is_recognised_with_times_and_confidence(models: PipelineModels):
    session = models.recognizer.open()
    session.feed(recording())
    partial = await session.partial()
    transcript = await session.final()
    session.close()
    assert partial
    assert "better than this" in transcript.clean.lower()
    assert all(0.0 < word.confidence <= 1.0 for word in transcript.words)
    starts = [word.start_ms for word in transcript.words]
    assert starts == sorted(starts)


async def test_what_the_synthesizer_says_the_recognizer_hears(models: PipelineModels):
    import soxr

    text = "Where did you go with your family yesterday?"
    chunks = [chunk async for chunk in models.synthesizer.stream(text, "", 1.0)]
    audio = np.frombuffer(b"".join(chunk.pcm for chunk in chunks), "<i2")
    session = models.recognizer.open()
    session.feed(soxr.resample(audio, 24_000, 16_000))
    heard = (await session.final()).verbatim.lower()
    session.close()
    assert [word.text for chunk in chunks for word in chunk.words] == text.split()
    assert sum(word.strip("?") in heard for word in text.lower().split()) >= 6


async def test_a_primed_prompt_is_not_evaluated_again(models: PipelineModels):
    session = models.language_model.open()
    messages = [Message(Role.SYSTEM, "You are a tutor. " * 60), Message(Role.USER, "Hello!")]
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(2):
        begin = loop.time()
        await session.prime(messages)
        times.append(loop.time() - begin)
    session.close()
    assert times[1] < times[0] / 3


async def test_a_stopped_reply_frees_the_model_at_once(models: PipelineModels):
    session = models.language_model.open()
    messages = [Message(Role.USER, "Tell me a very long story.")]
    pieces = session.stream(messages, GenerationOptions(max_tokens=400))
    async for _ in pieces:
        break
    await pieces.aclose()  # type: ignore[attr-defined]
    options = GenerationOptions(max_tokens=3)
    again = [piece async for piece in session.stream(messages, options)]
    session.close()
    assert 1 <= len(again) <= 4


async def test_no_more_sessions_than_slots(models: PipelineModels):
    places = [
        models.language_model.open() for _ in range(models.language_model.capabilities.max_sessions)
    ]
    with pytest.raises(ProviderBusyError):
        models.language_model.open()
    for place in places:
        place.close()
    models.language_model.open().close()


async def test_a_recording_is_answered_aloud(models: PipelineModels):
    engine = PipelineEngine("local", "Local", models)
    # As a server does: on a busy machine the rules alone outlast what a first token may take.
    await engine.warm()
    session = engine.open(SessionConfig())
    outputs = []

    async def read() -> None:
        while (output := await session.output()) is not None:
            outputs.append(output)

    audio = np.concatenate([recording(), np.zeros(8_000, np.int16)]).astype("<i2").tobytes()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(session.run())
        tasks.create_task(read())
        for start in range(0, len(audio), 640):
            session.handle(Audio(audio[start : start + 640]))
            await asyncio.sleep(0)
        session.handle(EndInput())
    committed = [each for each in outputs if isinstance(each, TurnCommitted)]
    assert "better than this" in " ".join(each.transcript.clean.lower() for each in committed)
    assert any(isinstance(each, ReplyAudio) for each in outputs)
    assert isinstance(outputs[-1], ReplyEnded)


def ten_minutes(of: str) -> np.ndarray:
    if of == "silence":
        return np.zeros(600 * 16_000, np.int16)
    # A quiet room at an ordinary gain: about -57 dB.
    noise = np.random.default_rng(1).normal(0, 45, 600 * 16_000)
    return noise.astype(np.int16)


@pytest.mark.parametrize("of", ["silence", "faint noise"])
async def test_ten_minutes_without_speech_make_no_turn_and_one_hint(
    models: PipelineModels, of: str
):
    session = PipelineEngine("local", "Local", models).open(SessionConfig())
    outputs = []
    grown = 0

    async def read() -> None:
        while (output := await session.output()) is not None:
            outputs.append(output)

    audio, minute = ten_minutes(of).tobytes(), 60 * 32_000
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(session.run())
        tasks.create_task(read())
        after_one_minute = 0
        for start in range(0, len(audio), 640):
            session.handle(Audio(audio[start : start + 640]))
            await asyncio.sleep(0)
            if start == minute:
                after_one_minute = psutil.Process().memory_info().rss
        grown = psutil.Process().memory_info().rss - after_one_minute
        session.handle(EndInput())
    # The one hint that its session may give; nothing was heard, so nothing is answered.
    assert [type(each) for each in outputs] == [LongSilence]
    # Kept audio alone would be 17 MB.
    assert grown < 8 * 1024 * 1024
