"""What is told of a sentence that was written again: sure mistakes, in the learner's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.assessment.comparing import corrections, sentences, surely_heard
from services.ai.learner import CorrectionKind, FoundCorrection, HeardWord


def found(said: str, rewritten: str) -> list[FoundCorrection]:
    words = said.split()
    return corrections(words, 0, len(words), rewritten, confidence=0.8, scorer="test@1")


def told(said: str, rewritten: str) -> list[tuple[str, str]]:
    return [(each.original, each.replacement) for each in found(said, rewritten)]


@pytest.mark.parametrize(
    ("said", "rewritten"),
    [
        ("I like this song very much.", "I like this song very much."),
        ("well i like this song", "Well, I like this song."),
        ("I'm going to be late today.", "I am going to be late today."),
        ("I do not know what to say.", "I don’t know what to say."),
        # Better, perhaps, and nobody's mistake.
        ("I think the food was really good.", "In my opinion, the food was delicious."),
        ("The film was very good and long.", "The film was excellent and long."),
        # Said of now, or of then: the learner knows.
        ("But she had left that life behind.", "But she has left that life behind."),
        ("She was at home with her dog.", "She is at home with her dog."),
        ("I walked to the park with him.", "I walk to the park with him."),
        # Mostly something else: it was not understood.
        ("Bt lies in the Chinese class at school.", "Betty likes the Chinese class of schools."),
        ("Go to the me want park.", "I want to go to the park."),
        # One change that is none of the known ones makes the other doubtful.
        ("He go to the huge market.", "He goes to the giant market."),
        # Not what was asked for.
        ("How are you doing today my friend?", ""),
        ("How are you doing today my friend?", "I am fine, thank you."),
    ],
)
def test_nothing_is_told_of_what_is_no_sure_mistake(said: str, rewritten: str):
    assert told(said, rewritten) == []


@pytest.mark.parametrize(
    ("said", "rewritten", "correction", "reason"),
    [
        ("Yesterday I go to the market.", "Yesterday I went to the market.",
         ("go", "went"), "past"),
        ("I eated pizza for dinner.", "I ate pizza for dinner.", ("eated", "ate"), "past"),
        ("He have two old brothers.", "He has two old brothers.", ("have", "has"), "“he”"),
        ("She don't like any coffee.", "She doesn't like any coffee.",
         ("don't", "doesn't"), "“she”"),
        ("He didn't went to school.", "He didn't go to school.", ("went", "go"), "plain form"),
        ("She can sings very well.", "She can sing very well.", ("sings", "sing"), "plain form"),
        ("I have never saw this movie.", "I've never seen this movie.", ("saw", "seen"), "seen"),
        ("I bought three book for her.", "I bought three books for her.", ("book", "books"), "one"),
        ("I went to park with her.", "I went to the park with her.", ("park", "the park"), "“the”"),
        ("She is engineer in a city.", "She is an engineer in a city.",
         ("engineer", "an engineer"), "count"),
        ("I saw a elephant there today.", "I saw an elephant there today.", ("a", "an"), "vowel"),
        ("It depends of the weather.", "It depends on the weather.", ("of", "on"), "“on”"),
        ("I listen music every day.", "I listen to music every day.",
         ("music", "to music"), "missing"),
        ("We discussed about the plan.", "We discussed the plan.", ("about the", "the"), "out"),
        ("I am agree with all that.", "I agree with all that.", ("am agree", "agree"), "out"),
        ("How much books do you have?", "How many books do you have?", ("much", "many"), "count"),
        ("I have 20 years old today.", "I am 20 years old today.", ("have", "am"), "age"),
        ("Him likes to eat ice cream.", "He likes to eat ice cream.", ("Him", "He"), "form"),
        ("She is very happy, she sing.", "She is very happy, she sings.",
         ("sing", "sings"), "“she”"),
        ("There is many people in town.", "There are many people in town.",
         ("is", "are"), "“be”"),
        ("I live here since five whole years.", "I have lived here for five whole years.",
         None, ""),
    ],
)  # fmt: skip
def test_a_mistake_of_a_known_kind_is_told_with_its_reason(
    said: str, rewritten: str, correction: tuple[str, str] | None, reason: str
):
    assert told(said, rewritten) == ([correction] if correction else [])
    assert all(reason in each.explanation for each in found(said, rewritten))


def test_a_word_taken_for_another_is_vocabulary():
    (one,) = found("She told that she was tired.", "She said that she was tired.")
    assert (one.kind, one.original, one.replacement) == (CorrectionKind.VOCABULARY, "told", "said")


def test_the_place_is_counted_in_the_whole_utterance():
    words = "Hello there. She go to work, every day.".split()
    (one,) = corrections(
        words, 2, 8, "She goes to work every day.", confidence=0.8, scorer="test@1"
    )
    assert (one.first_word, one.end_word, words[3]) == (3, 4, "go")


def test_what_is_missing_at_the_end_stands_with_the_word_before_it():
    (one,) = found("This is the house that he lives.", "This is the house that he lives in.")
    assert (one.original, one.replacement, one.first_word, one.end_word) == (
        "lives",
        "lives in",
        6,
        7,
    )


def test_short_and_endless_sentences_are_not_looked_at():
    words = f"To the park. I like it there very much. {'and so on ' * 20}".split()
    assert list(sentences(words)) == [(3, 9)]


def test_a_mistake_in_what_was_badly_heard_is_the_recognizers():
    (one,) = found("We was very tired there.", "We were very tired there.")
    sure = [HeardWord(text, 0.9) for text in "We was very tired there.".split()]
    assert surely_heard(one, sure)
    for place, confidence in ((0, 0.3), (1, 0.6), (2, 0.3)):
        heard = list(sure)
        heard[place] = HeardWord("x", confidence)
        assert not surely_heard(one, heard)
    assert surely_heard(one, [*sure[:4], HeardWord("there.", 0.1)])


@given(
    st.lists(st.sampled_from("I he go goes went the a to on friend friends . was is".split()),
             min_size=1, max_size=20),
    st.lists(st.sampled_from("I he go goes went the a to on friend friends . was is".split()),
             max_size=20),
)  # fmt: skip
def test_what_is_quoted_was_said_there(said: list[str], rewritten: list[str]):
    for each in corrections(
        said, 0, len(said), " ".join(rewritten), confidence=0.8, scorer="test@1"
    ):
        assert 0 <= each.first_word < each.end_word <= len(said)
        assert (
            each.original.split()
            == [word for word in said[each.first_word : each.end_word] if word != "."]
            or "." in said[each.first_word : each.end_word]
        )
        assert each.original != each.replacement
        assert each.explanation
