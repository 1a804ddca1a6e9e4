"""Words as tokens of a vocabulary that is numbered in the order of its merges."""

import pytest

from services.ai.adapters.pieces import Pieces

MARK = "\u2581"
# Single characters, then merges in their order; the empty ones are marks of the decoder's own.
VOCABULARY = [
    b"",
    *(character.encode() for character in (MARK, "h", "e", "r", "s", "t")),
    b"\xc3",
    b"\xa9",
    *(piece.encode() for piece in ("he", f"{MARK}he", "rs", f"{MARK}he" + "rs")),
    b"",
]


def spelt(text: str) -> list[str] | None:
    tokens = Pieces(VOCABULARY).encode(text)
    if tokens is None:
        return None
    return [VOCABULARY[token].decode(errors="replace") for token in tokens]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("he", [f"{MARK}he"]),
        ("hers", [f"{MARK}hers"]),
        ("here", [f"{MARK}he", "r", "e"]),
        ("he  hers", [f"{MARK}he", f"{MARK}hers"]),
        ("the", [MARK, "t", "he"]),
    ],
)
def test_the_lowest_number_is_merged_first(text: str, pieces: list[str]):
    assert spelt(text) == pieces


def test_a_character_that_the_vocabulary_lacks_is_spelt_in_bytes():
    assert Pieces(VOCABULARY).encode("\u00e9") == (1, 7, 8)


def test_a_character_that_there_is_twice_is_the_later_one_which_is_no_byte():
    assert Pieces([b"h", MARK.encode(), b"h"]).encode("h") == (1, 2)


def test_a_text_that_cannot_be_spelt_is_none():
    assert spelt("he quits") is None
