"""How much of a reply was played, read back from what was heard of it."""

from random import Random

import numpy as np
import pytest

from bench.interruptions_models import words_off
from bench.interruptions_sounds import COUGH, ECHO, RATE_HZ, Tones, Voices, cough, echo

TEXT = "It costs 20 dollars, so most people take the bus."


@pytest.mark.parametrize(
    ("played", "heard", "off"),
    [
        ("It costs twenty dollars so", 5, 0),
        ("it cost twenty dollar so", 5, 0),
        ("It costs twenty dollars so most", 5, 1),
        ("It costs", 5, 3),
        ("", 0, 0),
    ],
)
def test_the_beginning_that_a_transcript_resembles_was_played(
    played: str, heard: int, off: int
) -> None:
    assert words_off(TEXT, played, heard) == off


def test_where_two_beginnings_resemble_it_alike_neither_is_held_against_anybody() -> None:
    assert words_off("one two three", "one xyz", 1) == 0
    assert words_off("one two three", "one xyz", 2) == 0


def test_sounds_are_what_they_say_and_the_same_for_a_seed() -> None:
    backchannel = ("Mhm.", np.full(2_400, 0.3, np.float32))
    voices = Voices([np.full(RATE_HZ, 9_000, np.int16)], [backchannel])
    playing = np.full(24_000, 8_000, np.int16).tobytes()
    random = Random(5)
    kinds = {voices.other(random, playing).kind for _ in range(40)}

    assert kinds == {"Mhm.", COUGH, ECHO}
    assert voices.words(random).is_words
    assert np.array_equal(cough(Random(2)), cough(Random(2)))
    assert voices.other(Random(3), b"").kind != ECHO


def test_an_echo_is_late_and_faint() -> None:
    sound = echo(np.full(24_000, 8_000, np.int16).tobytes())

    assert not sound[: RATE_HZ * 60 // 1000].any()
    assert 300 < sound[RATE_HZ // 2] < 500


def test_a_scripted_recognizer_can_tell_the_tones_apart() -> None:
    random = Random(1)
    tones = Tones()

    assert np.abs(tones.words(random).samples).max() < 16_384
    assert np.abs(tones.other(random, b"").samples).max() > 16_384
