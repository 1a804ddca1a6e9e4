"""What speech over a reply means."""

import pytest

from services.conversation.interruption import Meaning, meaning


@pytest.mark.parametrize("text", ["mhm", "Yeah.", "Uh-huh", "oh okay right", "Mm-hmm!"])
def test_listeners_noises_are_backchannels(text: str):
    assert meaning(text, final=True, speech_ms=2_000) is Meaning.BACKCHANNEL


@pytest.mark.parametrize(
    "text", ["wait", "Stop!", "No.", "yeah but", "sorry", "I think so", "what?"]
)
def test_these_take_the_floor_at_once(text: str):
    assert meaning(text, speech_ms=500) is Meaning.INTERRUPTION


@pytest.mark.parametrize("text", ["wait", "Stop!", "No.", "sorry", "what?"])
def test_one_word_that_stops_needs_no_time(text: str):
    assert meaning(text) is Meaning.INTERRUPTION


@pytest.mark.parametrize("text", ["I see.", "Got it", "Of course. Of course.", "Oh, really?"])
def test_backchannels_may_have_two_words(text: str):
    assert meaning(text, final=True, speech_ms=700) is Meaning.BACKCHANNEL


def test_a_phrase_that_goes_on_is_none():
    assert meaning("I see a cat", speech_ms=700) is Meaning.INTERRUPTION


# What the default recognizer writes for "Mhm.", "Mm-hmm." and "Oh." of the default voice.
@pytest.mark.parametrize(
    ("text", "speech_ms"), [("Come on.", 367), ("Mama. Mama.", 323), ("L. l. l.", 273)]
)
def test_words_for_which_there_was_no_time_are_none(text: str, speech_ms: float):
    assert meaning(text, speech_ms=speech_ms) is Meaning.UNCLEAR
    assert meaning(text, final=True, speech_ms=speech_ms) is Meaning.BACKCHANNEL


@pytest.mark.parametrize("text", ["", "tea", "because"])
def test_one_other_word_is_waited_for(text: str):
    assert meaning(text) is Meaning.UNCLEAR


def test_one_other_word_is_noise_when_short_and_speech_when_long():
    assert meaning("tea", final=True, speech_ms=300) is Meaning.BACKCHANNEL
    assert meaning("absolutely", final=True, speech_ms=900) is Meaning.INTERRUPTION


def test_an_echo_of_three_words_is_the_tutor_and_two_may_be():
    said = "What do you like to eat in the morning?"
    assert meaning("like to eat", said=said) is Meaning.BACKCHANNEL
    assert meaning("to eat", said=said) is Meaning.UNCLEAR
    assert meaning("to eat", said=said, final=True, speech_ms=500) is Meaning.INTERRUPTION
    assert meaning("like to drink", said=said, speech_ms=700) is Meaning.INTERRUPTION


@pytest.mark.parametrize("word", ["what", "No.", "but", "Wait"])
def test_one_word_that_the_tutor_has_just_said_may_be_its_echo_until_it_is_final(word: str):
    said = "No, wait, but so what do you think?"
    assert meaning(word, said=said, speech_ms=450) is Meaning.UNCLEAR
    assert meaning(word, said="Tell me more", speech_ms=450) is Meaning.INTERRUPTION
    assert meaning(word, said=said, final=True, speech_ms=450) is Meaning.INTERRUPTION
    assert meaning(f"{word} is", said=said, speech_ms=500) is Meaning.INTERRUPTION


def test_a_listeners_word_is_one_though_the_tutor_has_just_said_it():
    assert meaning("right", said="That is right", speech_ms=450) is Meaning.BACKCHANNEL
