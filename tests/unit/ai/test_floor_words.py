"""What words say of the floor."""

import pytest

from services.ai.floor_words import asks_for_time, holds_floor


@pytest.mark.parametrize(
    "words",
    [
        "I went to the",
        "I like it because",
        "My name is",
        "I want to",
        "I live in",
        "I bought apples,",
        "I bought apples and...",
        # As the recognizer writes what breaks off: with a period.
        "I stayed at home and.",
        "I like it because.",
        "Yesterday I bought a.",
        "I went there with my.",
        "To dangers of.",
        "What a day for.",
        "In order to work, if.",
        "My name is.",
        "I live in.",
        "On Sundays I go to.",
        "It depends on.",
        "So, the problem is.",
        "I want to.",
        "And, um, I'd like to.",
        "We are going to.",
    ],
)
def test_what_breaks_off_holds_the_floor(words: str):
    assert holds_floor(words)


@pytest.mark.parametrize("sound", ["Um", "uhm", "Ehm.", "Eh.", "er", "hmm", "Ahm,"])
def test_a_sound_of_hesitation_holds_the_floor_by_itself_and_at_the_end(sound: str):
    assert holds_floor(sound)
    assert holds_floor(f"I like {sound}")
    assert not holds_floor(f"{sound} I like it.")


@pytest.mark.parametrize(
    "words",
    [
        "And then.",
        "I went to the market and then",
        "I like sports, for example.",
        "There are many animals. For instance,",
        "It is a bit, you know.",
        "It's like, I mean",
        "Well.",
        "Okay, so.",
        "I think.",
        "Yes, I think that.",
        "In my opinion.",
        "First of all.",
        "How to say.",
        "Let me explain.",
    ],
)
def test_what_announces_more_holds_the_floor(words: str):
    assert holds_floor(words)


@pytest.mark.parametrize(
    "words",
    [
        "Well, let me think.",
        "Let me think about that for a moment.",
        "Let me see now.",
        "Hmm. Let me see.",
        "Let me see what I can say.",
        "Let me check.",
        "I need to think.",
        "I\u2019m thinking.",
        "Wait, wait.",
        "Wait a minute",
        "Hold on a second.",
        "One moment.",
        "Just a moment, please.",
        "Sorry, one second, please.",
        "1 second please.",
        "Give me some time.",
        "I need a moment to think.",
        "Can you wait a minute, please?",
    ],
)
def test_who_only_asks_for_time_holds_the_floor(words: str):
    assert asks_for_time(words)
    assert holds_floor(words)


@pytest.mark.parametrize(
    "words",
    [
        "How do you say?",
        "How can I say this?",
        "I want to buy a, what's the word?",
        "Let me see, um",
    ],
)
def test_who_looks_for_a_word_holds_the_floor(words: str):
    assert holds_floor(words)


@pytest.mark.parametrize(
    "words",
    ["", "Um.", "Yes.", "Well,", "I went home. Let me think.", "Let me think. I like dogs."],
)
def test_what_says_anything_else_or_nothing_does_not_ask_for_time(words: str):
    assert not asks_for_time(words)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "I like to cook.",
        "Yes.",
        "I think so.",
        "This one is for you.",
        "Who is he?",
        "Where are you from?",
        "Yes, I am.",
        "Let me see the menu.",
        "Let me think. I like dogs.",
        "Yes, I want to.",
        "I don't want to.",
        "I'd love to.",
        "Do you want to?",
        "Come in.",
        "I know what the problem is.",
        "That is what I was looking for.",
        "I have nothing to talk about.",
        # A time that something takes asks for none.
        "It takes a while.",
        "It takes a while",
        "It takes one minute.",
        "It takes just a minute.",
        "I will be back in a minute.",
        "I stayed there for a moment.",
        "He told me to wait.",
        "I can't wait.",
        "I need to think about my family.",
        # Nor does what closes a sentence announce another.
        "That is what I mean.",
        "As you know.",
        "It's Monday, I think.",
        "I like it, actually.",
        "Very well.",
        # A question gives the floor away.
        "Do you know?",
        "And then?",
        "Which?",
        "Hm?",
        "Like what, for example?",
    ],
)
def test_finished_words_do_not(words: str):
    assert not holds_floor(words)


def test_however_often_somebody_asks_for_time_it_is_soon_understood():
    """The phrases are long alternatives: read in every way at once, these would take for ever."""
    for phrase in ("let me think ", "wait ", "so ", "um, ", "just a moment please "):
        assert not holds_floor(phrase * 300 + "I like dogs and cats and birds.")
