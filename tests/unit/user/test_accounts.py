"""Names: which are allowed, and which are the same."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.user.accounts import Username, comparable, parse_username


def parsed(text: str) -> Username | None:
    try:
        return parse_username(text)
    except InvalidArgument:
        return None


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_a_typed_refusal(text):
    name = parsed(text)
    if name is not None:
        assert 3 <= len(name.key) <= 254
        assert name.key[0].isalnum()


@given(st.text(max_size=80))
@example("\u03d3")  # folds to a capital letter unless it is normalised before folding, too
def test_comparing_forms_is_stable(text):
    """A name must equal itself however often it is folded, or it could be taken twice."""
    assert comparable(comparable(text)) == comparable(text)


@given(st.text("abcXYZäßİıſﬁＡ１²", min_size=3, max_size=20))
def test_every_spelling_of_a_name_has_one_key(text):
    name = parsed(text)
    if name is None:
        return
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        other = parsed(unicodedata.normalize(form, text))
        assert other is not None
        assert other.key == name.key
    for cased in (text.swapcase(), text.upper(), text.lower(), name.shown):
        # Turkish dotted and dotless i have letter cases that do not lead back.
        if not set(text) & set("İı"):
            assert comparable(cased) == name.key


@given(st.text(st.characters(categories=["Cc", "Cf", "Zs", "Zl", "Zp", "Co", "So"]), min_size=1))
def test_nothing_invisible_or_pictorial_gets_into_a_name(text):
    assert parsed(f"ada{text}bob") is None or comparable(text) != text
