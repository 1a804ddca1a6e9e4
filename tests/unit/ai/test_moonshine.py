"""Cutting audio for Moonshine and reading its tokens, with a model that only counts."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Collection, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.adapters.local_recognition import Again, piece_bounds
from services.ai.adapters.moonshine import MoonshineRecognizer, without_loop
from services.ai.adapters.moonshine_model import Token, decode_with, text_of, words_of
from services.ai.compute import ComputePool
from services.ai.spare_time import SpareTime

SECOND = 16_000


class Counting:
    """Says how many tenths of a second it heard, once for each call."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.drafts: list[str] = []

    def decode(
        self, audio: np.ndarray, stopped: Callable[[], bool], draft: Sequence[Token] = ()
    ) -> tuple[Token, ...]:
        self.lengths.append(len(audio))
        self.drafts.append(text_of(tuple(draft)))
        return (Token(7, "▁heard".encode(), -0.1),)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 3000, int(seconds * SECOND)).astype(np.int16)


@pytest.fixture
def pool():
    pool = ComputePool(2, 8)
    yield pool
    pool.close()


@given(st.integers(0, 60 * SECOND), st.sampled_from([8.0, 14.0]))
def test_pieces_cover_the_audio_and_none_is_too_long(samples: int, limit_s: float):
    audio = np.resize(noise(1.0), samples)
    bounds = piece_bounds(audio, limit_s)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == samples
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(bounds))
    assert all(end - start <= limit_s * SECOND for start, end in bounds)


@given(st.integers(8 * SECOND, 40 * SECOND), st.integers(0, 20 * SECOND))
def test_a_cut_stays_where_it_is_when_audio_is_added(samples: int, more: int):
    audio = np.resize(noise(2.0), samples + more)
    before = piece_bounds(audio[:samples], 8.0)[:-1]
    assert piece_bounds(audio, 8.0)[: len(before)] == before


def test_a_cut_falls_into_the_pause():
    audio = noise(12.0)
    audio[6 * SECOND : 6 * SECOND + 4000] = 0
    ((_, cut), _) = piece_bounds(audio, 8.0)
    assert 6 * SECOND <= cut <= 6 * SECOND + 4000


async def test_a_finished_piece_is_decoded_once(pool: ComputePool):
    model = Counting()
    session = MoonshineRecognizer(model, pool, piece_s=8.0).open()
    model.lengths.clear()
    session.feed(noise(10.0))
    await session.final()
    session.feed(noise(1.0))
    transcript = await session.final()
    first, tail, longer = model.lengths
    assert first <= 8 * SECOND
    assert longer == tail + SECOND
    assert transcript.verbatim == "heard heard"
    assert transcript.audio_ms == 11_000


async def test_a_caption_is_the_draft_of_what_follows(pool: ComputePool):
    model = Counting()
    session = MoonshineRecognizer(model, pool).open()
    model.drafts.clear()
    session.feed(noise(1.0))
    await session.partial()
    session.feed(noise(0.5))
    await session.final()
    assert model.drafts == ["", "heard"]


async def test_a_new_piece_has_no_draft(pool: ComputePool):
    model = Counting()
    session = MoonshineRecognizer(model, pool, piece_s=8.0).open()
    model.drafts.clear()
    session.feed(noise(7.0))
    await session.partial()
    session.feed(noise(3.0))
    await session.final()
    assert model.drafts == ["", "heard", ""]


async def test_silence_is_not_given_to_the_model(pool: ComputePool):
    model = Counting()
    session = MoonshineRecognizer(model, pool).open()
    model.lengths.clear()
    session.feed(np.zeros(SECOND, np.int16))
    assert (await session.final()).is_empty
    assert model.lengths == []


async def test_no_partial_is_made_while_the_pool_works(pool: ComputePool):
    model = Counting()
    session = MoonshineRecognizer(model, pool).open()
    session.feed(noise(1.0))
    working = asyncio.create_task(pool.run(lambda: 1))
    await asyncio.sleep(0)
    assert await session.partial() is None
    await working
    while not pool.is_idle:
        await asyncio.sleep(0)
    assert await session.partial() == "heard"


def tokens(text: str) -> tuple[Token, ...]:
    return tuple(Token(0, ("▁" + word).encode(), -0.5) for word in text.split())


@pytest.mark.parametrize(
    ("decoded", "kept"),
    [
        ("no no no", "no no no"),
        ("the the the the the the", "the"),
        ("I go home and so and so and so and so and so", "I go home and so"),
        ("", ""),
    ],
)
def test_a_decoders_loop_is_cut(decoded: str, kept: str):
    assert text_of(without_loop(tokens(decoded))) == kept


class EndsAtOnce:
    """A decoder that would rather end, then say its one word, and then end."""

    def __init__(self) -> None:
        self.vocabulary = [b"", b"<s>", b"</s>", "▁hi".encode()]

    def begin(self, audio: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return np.tile(np.array([0.0, 0.0, 9.0, 5.0], np.float32), (1, len(ids[0]), 1)), {}

    def step(self, ids: np.ndarray, past: dict[str, np.ndarray]) -> np.ndarray:
        return np.array([[[0.0, 0.0, 9.0, 5.0]]], np.float32)


@pytest.mark.parametrize(("seconds", "said"), [(1.0, ""), (1.9, ""), (2.0, "hi"), (14.0, "hi")])
@pytest.mark.parametrize("draft", [(), (Token(3, "▁hi".encode(), -0.1),)])
def test_long_audio_never_comes_out_empty(seconds: float, said: str, draft: tuple[Token, ...]):
    audio = noise(seconds).astype(np.float32)
    assert text_of(decode_with(EndsAtOnce(), audio, lambda: False, draft)) == said


def test_a_word_is_as_sure_as_its_pieces():
    pieces = (
        Token(1, "▁cook".encode(), -0.1),
        Token(2, b"ing", -0.3),
        Token(3, "▁now".encode(), 0.0),
    )
    words = words_of(pieces)
    assert [text for text, _ in words] == ["cooking", "now"]
    assert words[0][1] == pytest.approx(np.exp(-0.2))


class Patient:
    """Hears each piece again, and waits for the test where it is told to."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.expected: set[str] = set()
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.was_stopped = False

    def hear(
        self, samples: np.ndarray, expected: Collection[str], stopped: Callable[[], bool]
    ) -> list[tuple[str, float]]:
        self.lengths.append(len(samples))
        self.expected = set(expected)
        self.begun.set()
        self.go_on.wait(20)
        self.was_stopped = stopped()
        return [("heard", 0.9), ("again", 0.4)]


@pytest.fixture
def spare():
    spare = SpareTime()
    yield spare
    spare.close()


async def test_an_utterance_is_heard_again_piece_by_piece(pool: ComputePool, spare: SpareTime):
    patient = Patient()
    session = MoonshineRecognizer(Counting(), pool, again=Again("patient", patient, spare)).open()
    session.feed(noise(20.0))
    transcript = await session.again({"home"})
    assert session.again_by == "patient"
    assert patient.expected == {"home"}
    assert transcript is not None
    assert transcript.verbatim == "heard again heard again"
    assert [word.confidence for word in transcript.words] == [0.9, 0.4, 0.9, 0.4]
    assert sum(patient.lengths) == 20 * SECOND
    assert max(patient.lengths) <= 14 * SECOND
    starts = [word.start_ms for word in transcript.words]
    assert starts == sorted(starts)


async def test_silence_is_not_heard_again(pool: ComputePool, spare: SpareTime):
    patient = Patient()
    session = MoonshineRecognizer(Counting(), pool, again=Again("patient", patient, spare)).open()
    session.feed(np.zeros(SECOND, np.int16))
    transcript = await session.again({"home"})
    assert transcript is not None
    assert transcript.is_empty
    assert patient.lengths == []


async def test_nobody_hears_it_again_where_nobody_was_named(pool: ComputePool):
    session = MoonshineRecognizer(Counting(), pool).open()
    session.feed(noise(1.0))
    assert session.again_by == ""
    assert await session.again({"home"}) is None


async def test_a_second_hearing_that_nobody_wants_any_more_is_told(
    pool: ComputePool, spare: SpareTime
):
    patient = Patient()
    patient.go_on.clear()
    session = MoonshineRecognizer(Counting(), pool, again=Again("patient", patient, spare)).open()
    session.feed(noise(1.0))
    hearing = asyncio.create_task(session.again(()))
    while not patient.begun.is_set():
        await asyncio.sleep(0)
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    session.close()
    patient.go_on.set()
    assert await spare.run(lambda: patient.was_stopped)
