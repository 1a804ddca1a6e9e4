"""The cases of bench-turns: nothing but time is added, and the truth moves with it."""

from __future__ import annotations

import numpy as np
import pytest

from bench.live import RATE_HZ
from bench.speech import Utterance
from bench.turns_cases import (
    LEAD_IN_S,
    TAIL_S,
    build_cases,
    cases_of_every_gap,
    is_held_out,
    word_gaps,
)
from parley_cli.audio.files import Samples
from parley_cli.audio.speech_end import speech_end_sample


def recording(*parts: tuple[float, float]) -> Samples:
    """Return noise in stretches of (seconds, level)."""
    random = np.random.default_rng(5)
    return np.concatenate(
        [random.normal(0, level, int(seconds * RATE_HZ)) for seconds, level in parts]
    ).astype(np.int16)


# Three words with gaps between them, and silence around.
WORDS = recording((0.5, 20), (0.8, 3000), (0.1, 30), (0.9, 3000), (0.1, 30), (0.8, 3000), (0.5, 20))
SPEECH_END = int(3.2 * RATE_HZ)


def utterance(samples: Samples = WORDS) -> Utterance:
    return Utterance("words.wav", samples, "one two three", None)


def build(samples: Samples = WORDS, seed: int = 1, voice_end: int | None = SPEECH_END):
    return build_cases([utterance(samples)], 3, seed, lambda _: voice_end)


def test_a_recording_without_speech_makes_no_case():
    assert build(recording((2.0, 0.0))) == []


@pytest.mark.parametrize("voice_end", [None, SPEECH_END - RATE_HZ, SPEECH_END + RATE_HZ])
def test_a_recording_whose_end_is_not_certain_makes_no_case(voice_end: int | None):
    assert build(voice_end=voice_end) == []


def test_a_recording_without_gaps_is_heard_only_as_it_is():
    cases = build(recording((0.5, 20), (2.7, 3000), (0.5, 20)))
    assert [case.pauses for case in cases] == [()]


def test_gaps_lie_between_the_words():
    gaps = [gap / RATE_HZ for gap in word_gaps(WORDS, SPEECH_END)]
    assert len(gaps) == 2
    assert 1.3 <= gaps[0] <= 1.4
    assert 2.3 <= gaps[1] <= 2.4


def test_every_gap_can_be_heard_with_a_pause_in_it():
    cases = cases_of_every_gap([utterance()], 1.5, 1, lambda _: SPEECH_END)
    assert [len(case.pauses) for case in cases] == [0, 1, 1]
    assert [case.pauses[0][1] for case in cases[1:]] == [1.5, 1.5]
    assert {case.recording for case in cases} == {"words.wav"}


def test_about_half_of_all_recordings_are_held_out_and_always_the_same():
    names = [f"{number:09d}.wav" for number in range(1000)]
    held_out = [name for name in names if is_held_out(name)]
    assert 450 <= len(held_out) <= 550
    assert held_out == [name for name in names if is_held_out(name)]


def test_the_longest_pause_is_what_was_asked_for():
    cases = build_cases([utterance()], 20, 1, lambda _: SPEECH_END, 0.5)
    lengths = [length for case in cases for _, length in case.pauses]
    assert max(lengths) <= 0.5


def test_each_recording_comes_as_it_is_and_as_often_with_pauses_as_asked():
    cases = build()
    assert [bool(case.pauses) for case in cases] == [False, True, True, True]
    assert len({case.name for case in cases}) == 4


def test_pauses_are_as_long_as_promised_and_inside_the_speech():
    for case in build()[1:]:
        for begin, length in case.pauses:
            assert 0.3 <= length <= 2.5
            assert LEAD_IN_S < begin < begin + length < case.speech_end_s


def test_only_the_pauses_are_added():
    for case in build():
        added = sum(length for _, length in case.pauses)
        expected = len(WORDS) / RATE_HZ + LEAD_IN_S + TAIL_S + added
        assert case.duration_s == pytest.approx(expected, abs=0.001)
        assert case.speech_end_s == pytest.approx(
            SPEECH_END / RATE_HZ + LEAD_IN_S + added, abs=0.02
        )


def test_the_truth_is_where_the_audio_says():
    for case in build():
        end = speech_end_sample(case.audio, RATE_HZ)
        assert end is not None
        assert end / RATE_HZ == pytest.approx(case.speech_end_s, abs=0.03)


def test_pauses_are_filled_with_noise_not_with_digital_silence():
    for case in build()[1:]:
        for begin, length in case.pauses:
            filled = case.audio[
                int((begin + 0.02) * RATE_HZ) : int((begin + length - 0.02) * RATE_HZ)
            ]
            assert 5 < float(np.std(filled)) < 100


def test_the_same_folder_gives_the_same_cases():
    for one, other in zip(build(), build(), strict=True):
        assert one.name == other.name
        assert np.array_equal(one.audio, other.audio)


def test_another_seed_gives_other_pauses():
    assert [case.pauses for case in build()] != [case.pauses for case in build(seed=2)]
