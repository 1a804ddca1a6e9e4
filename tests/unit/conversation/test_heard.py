"""Which words count as heard."""

import pytest

from services.conversation.heard import SpokenWord, TextPiece, heard_text, word_times

TIMED = TextPiece(
    "Hello there, friend.",
    0,
    (SpokenWord("Hello", 0, 400), SpokenWord("there", 400, 800), SpokenWord("friend", 800, 1400)),
)


@pytest.mark.parametrize(
    ("heard_ms", "text"),
    [
        (0, ""),
        (150, ""),
        (200, "Hello"),
        (599, "Hello"),
        (600, "Hello there,"),
        (1100, "Hello there, friend."),
        (9999, "Hello there, friend."),
    ],
)
def test_a_word_is_heard_when_half_of_it_was_played(heard_ms: int, text: str):
    assert heard_text([TIMED], 1400, heard_ms) == text


def test_without_times_the_words_of_a_piece_share_its_audio_by_their_letters():
    pieces = [TextPiece("I am ", 0), TextPiece("here", 600)]
    times = [(word.text, word.start_ms, word.end_ms) for word in word_times(pieces, 1000)]
    assert times == [("I", 0, 200), ("am", 200, 600), ("here", 600, 1000)]
    assert all(word.estimated for word in word_times(pieces, 1000))
    assert heard_text(pieces, 1000, 650) == "I am"


def test_times_that_do_not_fit_the_text_are_not_believed():
    piece = TextPiece("quite different", 0, (SpokenWord("words", 0, 100),))
    assert [word.text for word in word_times([piece], 1000)] == ["quite", "different"]


def test_a_repeated_word_is_found_in_its_own_place():
    piece = TextPiece("no no no", 0, tuple(SpokenWord("no", at, at + 100) for at in (0, 100, 200)))
    assert heard_text([piece], 300, 160) == "no no"


def test_text_without_any_words_is_nothing_heard():
    assert heard_text([TextPiece("  ", 0)], 100, 100) == ""
    assert heard_text([], 0, 100) == ""


def test_words_without_audio_of_their_own_are_never_heard():
    pieces = [TextPiece("Hello there ", 0), TextPiece("never voiced", 1000)]
    assert heard_text(pieces, 1000, 1000) == "Hello there"
    assert [word.text for word in word_times(pieces, 1000)][-1] == "voiced", "but they are shown"


def test_a_piece_whose_audio_comes_in_several_parts_is_heard_by_all_their_words():
    """A synthesizer sends the whole text with the first part, and each part's words with it."""
    pieces = [
        TextPiece("One two. Three.", 0, (SpokenWord("One", 0, 300), SpokenWord("two", 300, 600))),
        TextPiece("", 600, (SpokenWord("Three", 600, 900),)),
    ]
    assert heard_text(pieces, 900, 600) == "One two."
    assert heard_text(pieces, 900, 900) == "One two. Three."


def test_without_times_a_piece_lasts_over_all_its_parts():
    pieces = [TextPiece("abcd efgh", 0), TextPiece("", 500), TextPiece(" next", 1000)]
    times = [(word.text, word.start_ms, word.end_ms) for word in word_times(pieces, 1200)]
    assert times == [("abcd", 0, 500), ("efgh", 500, 1000), ("next", 1000, 1200)]
