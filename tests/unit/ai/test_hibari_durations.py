"""Word times from the synthesizer's own durations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from services.ai.adapters.hibari import SAMPLE_RATE_HZ, HibariSynthesizer
from services.ai.adapters.hibari_durations import (
    SAMPLES_PER_STEP,
    Span,
    SpokenAs,
    onto,
    pieces,
    spans,
)
from services.ai.capabilities import SpeechChunk
from services.ai.compute import ComputePool

ALPHABET = "abcdefgh ,."


def steps(start: int, end: int) -> Span:
    return Span(start * SAMPLES_PER_STEP, end * SAMPLES_PER_STEP)


def test_a_word_begins_with_its_first_phoneme_and_ends_with_its_last() -> None:
    words = [SpokenAs("one", "ab"), SpokenAs("two", "c")]

    assert spans(words, ALPHABET, [10, 1, 2, 5, 4, 9]) == [steps(10, 13), steps(18, 22)]


def test_the_pause_of_a_comma_is_in_no_word() -> None:
    words = [SpokenAs("one,", "a,"), SpokenAs("two.", "b.")]

    assert spans(words, ALPHABET, [1, 2, 30, 4, 5, 30, 7]) == [steps(1, 3), steps(37, 42)]


def test_what_the_model_does_not_know_takes_no_time() -> None:
    words = [SpokenAs("\u4e2d", "\u4e2d"), SpokenAs("b", "b"), SpokenAs("|", "")]

    # Spaces stay where the words between them say nothing.
    assert spans(words, ALPHABET, [1, 2, 3, 4, 5]) == [steps(1, 1), steps(3, 6), steps(10, 10)]


def test_written_words_share_the_time_of_what_is_said_for_them() -> None:
    said = [SpokenAs(word, "") for word in ("At", "seven", "thirty", "P.M.", "sharp.")]
    places = [Span(0, 10), Span(20, 50), Span(50, 80), Span(80, 100), Span(110, 150)]

    assert onto(["At", "7:30", "pm", "sharp."], said, places) == [
        Span(0, 10),
        Span(20, 73),
        Span(73, 100),
        Span(110, 150),
    ]


def test_a_written_word_that_is_not_said_stands_where_it_would() -> None:
    said = [SpokenAs("one", "a"), SpokenAs("two", "b")]
    places = [Span(0, 10), Span(20, 30)]

    assert onto(["one", "*", "two"], said, places) == [Span(0, 10), Span(10, 10), Span(20, 30)]
    assert onto(["one"], said, places) == [Span(0, 10)]
    assert onto(["*"], [], []) == [Span(0, 0)]


def test_a_long_sentence_is_cut_after_its_clauses_and_loses_no_word() -> None:
    words = [SpokenAs("ab,", "ab,"), SpokenAs("c", "c"), SpokenAs("d", "d"), SpokenAs("e", "e")]

    cut = list(pieces(words, 7))

    assert [[word.text for word in piece] for piece in cut] == [["ab,"], ["c", "d", "e"]]
    assert list(pieces([SpokenAs("a", "a" * 9)] * 2, 4)) == [[SpokenAs("a", "a" * 9)]] * 2
    assert not list(pieces([], 4))


@pytest.fixture(scope="module")
def synthesizer() -> Iterator[HibariSynthesizer]:
    pool = ComputePool(1, max_waiting=4)
    asyncio.run(pool.run(int))  # its thread is the module's, not a test's
    yield HibariSynthesizer(pool)
    pool.close()


def said(synthesizer: HibariSynthesizer, text: str) -> list[SpeechChunk]:
    async def collect() -> list[SpeechChunk]:
        return [chunk async for chunk in synthesizer.stream(text, "", 1.0)]

    return asyncio.run(collect())


def loudness(chunk: SpeechChunk, start_ms: int, end_ms: int) -> float:
    samples = np.frombuffer(chunk.pcm, "<i2")
    part = samples[start_ms * SAMPLE_RATE_HZ // 1000 : end_ms * SAMPLE_RATE_HZ // 1000]
    return float(np.sqrt(np.mean(np.square(part.astype(float)))))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("I like it; apples are red.", 3),
        ("She called him: nobody came.", 3),
        ("He stopped; always tired.", 2),
        ("Look at it: amazing work.", 3),
    ],
)
def test_a_word_after_a_pause_begins_where_its_sound_does(
    synthesizer: HibariSynthesizer, text: str, word: int
) -> None:
    (chunk,) = said(synthesizer, text)

    starts_ms = chunk.words[word].start_ms
    before = loudness(chunk, starts_ms - 80, starts_ms - 40)
    assert before < loudness(chunk, starts_ms + 40, starts_ms + 120) / 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It costs $9.99 at 7:30 pm.", ["It", "costs", "$9.99", "at", "7:30", "pm."]),
        ("Tea & cake \u2014 50% off", ["Tea", "&", "cake", "\u2014", "50%", "off"]),
        ("[Say it](/s\u02c8A \u026at/) so", ["[Say", "it](/s\u02c8A", "\u026at/)", "so"]),
        ("well, " * 150 + "yes", ["well,"] * 150 + ["yes"]),
    ],
)
def test_every_word_as_it_is_written_has_its_time_in_order(
    synthesizer: HibariSynthesizer, text: str, words: list[str]
) -> None:
    (chunk,) = said(synthesizer, text)

    assert [word.text for word in chunk.words] == words
    edges = [edge for word in chunk.words for edge in (word.start_ms, word.end_ms)]
    assert edges == sorted(edges)
    assert edges[-1] * SAMPLE_RATE_HZ * 2 // 1000 <= len(chunk.pcm)


def test_what_cannot_be_said_is_silent_and_not_a_failure(synthesizer: HibariSynthesizer) -> None:
    assert said(synthesizer, "\u4f60\u597d") == []
    assert said(synthesizer, " \n ") == []
