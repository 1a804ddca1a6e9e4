"""What can be spoken while the rest is still being written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.clauses import ClauseSplitter


def split(text: str, size: int = 1) -> list[str]:
    splitter = ClauseSplitter()
    out = []
    for start in range(0, len(text), size):
        out += splitter.feed(text[start : start + size])
    rest = splitter.flush()
    return [clause.strip() for clause in [*out, *([rest] if rest else [])]]


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        ("   ", []),
        ("Oh, nice! What next?", ["Oh,", "nice!", "What next?"]),
        ("Well, I see. Go on.", ["Well,", "I see.", "Go on."]),
        ("Ben, I see. Go on.", ["Ben, I see.", "Go on."]),
        (", and so on.", [", and so on."]),
        ("That is good, tell me more. Please.", ["That is good,", "tell me more.", "Please."]),
        ("I met Dr. Smith. He is kind.", ["I met Dr. Smith.", "He is kind."]),
        ("It costs 3.5 euros. Cheap!", ["It costs 3.5 euros.", "Cheap!"]),
        ("At 9 a.m. we met.", ["At 9 a.m. we met."]),
        ("No end", ["No end"]),
        ("First line\nSecond line", ["First line", "Second line"]),
        ("One is here.\nTwo is.\n\nThree", ["One is here.", "Two is.", "Three"]),
        ("Really?! Yes.", ["Really?!", "Yes."]),
    ],
)
def test_a_reply_is_cut_where_it_can_be_spoken(text: str, clauses: list[str]):
    assert split(text, size=4) == clauses


def test_a_long_first_sentence_is_cut_at_a_joint():
    first, *_ = split("I think that people should cook at home and then eat together outside.", 5)
    assert 4 <= len(first.split()) <= 10


def test_the_first_sentence_comes_out_as_soon_as_its_mark_is_there():
    splitter = ClauseSplitter()
    assert splitter.feed("How nice") == []
    assert splitter.feed("!") == ["How nice!"]


def test_a_sentence_on_a_line_of_its_own_comes_out_as_soon():
    splitter = ClauseSplitter()
    assert splitter.feed("How nice!") == ["How nice!"]
    assert splitter.feed("\nAnd why") == []
    assert splitter.feed("?") == ["\nAnd why?"]


def test_an_interjection_is_said_while_the_words_after_it_are_written():
    splitter = ClauseSplitter()
    assert splitter.feed("Oh") == []
    assert splitter.feed(",") == ["Oh,"]
    assert splitter.feed(" well, ") == []


def test_the_first_clause_does_not_wait_for_the_word_after_its_comma():
    splitter = ClauseSplitter()
    assert splitter.feed("That is good") == []
    assert splitter.feed(",") == ["That is good,"]


def test_a_comma_after_a_digit_may_belong_to_a_number():
    splitter = ClauseSplitter()
    assert splitter.feed("It costs 1") == []
    assert splitter.feed(",") == []
    assert splitter.feed("000 euros") == []


@given(st.text(alphabet="ab .,!?\n3", max_size=80), st.integers(1, 7))
def test_no_word_is_lost_doubled_or_reordered(text: str, size: int):
    assert "".join("".join(split(text, size)).split()) == "".join(text.split())
