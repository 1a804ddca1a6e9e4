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
    assert meaning(text) is Meaning.INTERRUPTION


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
    assert meaning("like to drink", said=said) is Meaning.INTERRUPTION
