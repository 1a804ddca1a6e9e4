"""Clean text and word times."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.transcripts import clean_text, time_words, transcript_of


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("", ""),
        ("um", ""),
        ("Um, I like, uh, tea.", "I like, tea."),
        ("I I went went home", "I went home"),
        ("I go I go home", "I go home"),
        ("to the, to the park", "To the park"),
        ("he have two cat", "He have two cat"),
        ("Hmm. Yes.", "Yes."),
    ],
)
def test_stumbles_go_and_mistakes_stay(said: str, meant: str):
    assert clean_text(said.split()) == meant


def test_words_stand_where_the_sound_is():
    audio = np.zeros(48_000, np.int16)
    time = np.arange(8_000) / 16_000
    tone = (9000 * np.sin(2 * np.pi * 200 * time)).astype(np.int16)
    audio[8_000:16_000] = tone
    audio[32_000:40_000] = tone
    first, second = time_words([("abcd", 0.9), ("efgh", 0.8)], audio, 1000)
    assert 1450 <= first.start_ms <= 1550
    assert 1950 <= first.end_ms <= 2050
    assert 2950 <= second.start_ms <= 3050
    assert second.confidence == 0.8


@given(st.lists(st.text("abc'-.", min_size=1, max_size=8), max_size=12), st.integers(0, 20_000))
def test_words_never_overlap_nor_leave_the_audio(texts: list[str], samples: int):
    audio = (np.random.default_rng(1).normal(0, 2000, samples)).astype(np.int16)
    words = time_words([(text, 1.0) for text in texts], audio, 0)
    assert [word.text for word in words] == texts
    for word, following in itertools.pairwise(words):
        assert word.start_ms <= following.start_ms
    assert all(0 <= word.start_ms <= word.end_ms <= samples / 16 + 40 for word in words)


def test_a_transcript_of_nothing_is_empty():
    assert transcript_of((), 500).is_empty
