"""Two ears that judge each other's sentences: whom they believe, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.adapters.second_hearing import (
    SecondHearing,
    Sentence,
    Weighed,
    common_places,
    spoken,
    words_with_confidence,
)

END = 0
WORDS = ("i", "left", "love", "her", "him", "at", "home")
VOCABULARY = [b"", *(f"\u2581{word}".encode() for word in WORDS)]
SAMPLES = np.zeros(16_000, np.float32)
NEVER = -50.0


def tokens(text: str) -> tuple[int, ...]:
    return tuple(WORDS.index(word) + 1 for word in text.split())


class Ear:
    """Knows some sentences and how likely each is."""

    def __init__(self, sentences: Mapping[str, float]) -> None:
        self.sentences = {tokens(text): math.log(share) for text, share in sentences.items()}
        self.vocabulary = VOCABULARY
        self.read: list[tuple[int, ...]] = []

    def listen(self, samples: np.ndarray) -> Listening:
        return Listening(self)

    def token_limit(self, samples: int) -> int:
        return 10


class Listening:
    """What an ear hears in everything."""

    end = END

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._rows: list[tuple[int, ...]] = [()]

    def _next(self, row: tuple[int, ...]) -> np.ndarray:
        scores = np.full(len(VOCABULARY), NEVER, np.float32)
        for sentence, likely in self._ear.sentences.items():
            if sentence[: len(row)] == row:
                following = sentence[len(row)] if len(sentence) > len(row) else END
                scores[following] = np.logaddexp(scores[following], likely)
        return scores

    def begin(self) -> np.ndarray:
        self._rows = [()]
        return self._next(())

    def extend(self, parents: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        self._rows = [(*self._rows[p], t) for p, t in zip(parents, tokens, strict=True)]
        return np.stack([self._next(row) for row in self._rows])

    def score(self, text: Sequence[int]) -> float:
        self._ear.read.append(tuple(text))
        return self._ear.sentences.get(tuple(text), NEVER)


def heard(*ears: Ear, **options: object) -> str:
    hearing = SecondHearing([Weighed(ear, 1.0, 4) for ear in ears])
    return " ".join(word for word, _ in hearing.hear(SAMPLES, **options))


def test_the_sentence_that_both_can_live_with_is_believed():
    one = Ear({"i love her": 0.6, "i left her": 0.4})
    other = Ear({"i left him": 0.55, "i left her": 0.45})
    assert heard(one) == "i love her"
    assert heard(other) == "i left him"
    assert heard(one, other) == "i left her"


def test_each_reads_what_the_other_found_and_not_what_it_found_itself():
    one = Ear({"i left": 0.6, "i left her": 0.4})
    other = Ear({"i love": 0.6, "i left her": 0.4})
    heard(one, other)
    assert one.read == [tokens("i love")]
    assert other.read == [tokens("i left")]


def test_an_ear_without_weight_does_not_decide():
    one, other = Ear({"i left": 0.6, "i love": 0.4}), Ear({"i love": 1.0})
    hearing = SecondHearing([Weighed(one, 1.0, 4), Weighed(other, 0.0, 4)])
    assert [word for word, _ in hearing.hear(SAMPLES)] == ["i", "left"]


def test_what_the_talk_is_about_decides_between_likes_alone():
    near = Ear({"i left": 0.55, "i love": 0.45})
    assert heard(near) == "i left"
    assert heard(near, expected=frozenset({"love"})) == "i love"
    far = Ear({"i left": 0.95, "i love": 0.05})
    assert heard(far, expected=frozenset({"love"})) == "i left"


def test_what_was_said_after_a_pause_is_not_lost_for_the_sake_of_an_early_end():
    ear = Ear({"i left": 0.6, "i left her at home": 0.4})
    assert heard(ear) == "i left her at home"
    sure = Ear({"i left": 0.96, "i left her at home": 0.04})
    assert heard(sure) == "i left"


def test_nothing_heard_is_no_words():
    assert heard(Ear({"": 1.0})) == ""
    assert words_with_confidence([]) == []
    assert words_with_confidence([Sentence("left", -math.inf)]) == []


def test_a_hearing_that_is_stopped_says_nothing():
    assert heard(Ear({"i left": 1.0}), stopped=lambda: True) == ""


def test_words_are_as_sure_as_the_sentences_that_have_them():
    words = words_with_confidence(
        [Sentence("I left her.", 0.0), Sentence("I left him.", 0.0), Sentence("We left her.", 0.0)]
    )
    assert [text for text, _ in words] == ["I", "left", "her."]
    assert [sure for _, sure in words] == pytest.approx([2 / 3, 1.0, 2 / 3])


def test_common_words_count_at_one_place():
    assert common_places("a b a".split(), "a".split()) == [0]
    assert common_places("the cat sat".split(), "a cat is sat".split()) == [1, 2]
    assert common_places([], ["a"]) == []


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), st.floats(-20, 0)),
        min_size=1,
        max_size=6,
    )
)
def test_confidences_are_shares_and_the_words_are_the_best_sentences(listed: list):
    sentences = [Sentence(" ".join(words), total) for words, total in listed]
    found = words_with_confidence(sentences)
    assert all(0.0 < sure <= 1.0 for _, sure in found)
    assert tuple(word for word, _ in found) in {
        spoken(each.text)
        for each in sentences
        if each.total == max(other.total for other in sentences)
    }
