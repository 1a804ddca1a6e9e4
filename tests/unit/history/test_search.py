"""Words, queries and snippets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.history.search import (
    SNIPPET_CHARACTERS,
    Query,
    fold,
    parse_query,
    snippet,
    tokens,
)


def words(text: str) -> list[str]:
    return [token.word for token in tokens(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, World!", ["hello", "world"]),
        ("don't 'quote' rock\u2019n\u2019roll", ["dont", "quote", "rocknroll"]),
        ("Straße CAFÉ cafe\u0301", ["strasse", "cafe", "cafe"]),
        ("\ufb01ne \uff37\uff49\uff44\uff45 ½", ["fine", "wide", "12"]),
        ("你好world", ["你", "好", "world"]),
        ("일본어", ["일", "본", "어"]),
        ("हिन्दी भाषा", ["हनद", "भष"]),
        ("\u0301\u0302", []),
        ("a\x00b", ["a", "b"]),
    ],
)
def test_text_is_cut_into_words(text: str, expected: Any) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("black cat", (("black",), ("cat",))),
        ('"black cat" sat', (("black", "cat"), ("sat",))),
        ('sat "black cat', (("sat",), ("black", "cat"))),
        ("\u201cblack cat\u201d", (("black", "cat"),)),
        ("cat Cat CAT", (("cat",),)),
        ("你好 世界", (("你", "好"), ("世", "界"))),
        ("go去", (("go",), ("去",))),
        ('""cat""', (("cat",),)),
    ],
)
def test_a_query_is_words_and_phrases(text: str, terms: Any) -> None:
    assert parse_query(text) == Query(terms)


def test_a_query_without_a_word_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="QUERY_INVALID"):
        parse_query('"?!"')


@given(st.text(max_size=300))
def test_every_word_stands_where_it_says(text: str) -> None:
    found = list(tokens(text))
    assert all(fold(text[token.start : token.end]) == token.word != "" for token in found)
    ends = [0, *(token.end for token in found)]
    assert all(end <= token.start < token.end for end, token in zip(ends, found, strict=False))


@given(st.text(max_size=300))
def test_a_word_holds_nothing_that_could_be_syntax(text: str) -> None:
    assert all(word.isalnum() for word in words(text))


@given(st.text(max_size=400), st.data())
def test_a_snippet_shows_what_matched(text: str, data: st.DataObject) -> None:
    found = list(tokens(text))
    if not found:
        return
    word = data.draw(st.sampled_from(found)).word
    shown = snippet(text, Query(((word,),)))
    assert len(shown.text) <= SNIPPET_CHARACTERS + 2
    assert shown.spans
    assert shown.text.strip("…") in text
    spans = [0, *(place for span in shown.spans for place in span), len(shown.text)]
    assert spans == sorted(spans)
    start, end = shown.spans[0]
    assert word.startswith(fold(shown.text[start:end])[: len(word)])


def test_a_long_text_is_cut_around_its_first_match() -> None:
    text = "word " * 100 + "needle " + "word " * 100
    shown = snippet(text, parse_query("needle"))
    assert shown.text.startswith("…word")
    assert shown.text.endswith("word…")
    assert [shown.text[start:end] for start, end in shown.spans] == ["needle"]


def test_overlapping_matches_are_one_span() -> None:
    shown = snippet("the black cat", parse_query('"the black" "black cat" black'))
    assert shown.spans == ((0, 13),)
