"""Names: which are allowed, and which are the same."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.limits import DEFAULT_LIMITS
from services.user.usernames import Username, comparable, parse_username


def parsed(text: str) -> Username | None:
    try:
        return parse_username(text)
    except InvalidArgument:
        return None


def test_a_name_has_so_many_characters_and_no_more():
    most = DEFAULT_LIMITS.max_username_characters
    assert parsed("a1" * (most // 2)) is not None
    assert parsed("a1" * (most // 2) + "b") is None


def test_a_name_has_at_least_so_many_characters():
    least = DEFAULT_LIMITS.min_username_characters
    assert parsed("abcdef"[:least]) is not None
    assert parsed("abcdef"[: least - 1]) is None


def test_an_address_has_so_many_characters_and_no_more():
    most, local = DEFAULT_LIMITS.max_email_characters, DEFAULT_LIMITS.max_email_local_characters
    before = "a" * local + "@"
    labels = ".".join(("b" * 63, "c" * 63, "d" * (most - len(before) - 128)))
    assert len(before + labels) == most
    assert parsed(before + labels) is not None
    assert parsed(f"{before}{labels}d") is None
    assert parsed(f"{before}example.org") is not None
    assert parsed(f"a{before}example.org") is None


def test_a_letter_has_so_many_marks_and_no_more():
    marks = "\u0301" * DEFAULT_LIMITS.max_marks_on_a_letter
    assert parsed(f"aab{marks}") is not None
    assert parsed(f"aab{marks}\u0301") is None


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


@pytest.mark.parametrize(
    "name",
    [
        "ada@example",
        "@example.org",
        "ada@",
        "a@b@example.org",
        "ada@exa mple.org",
        ".ada@example.org",
        "ada.@example.org",
        "a..da@example.org",
        "ada@-example.org",
        "ada@example-.org",
        "ada@example..org",
        "ada@exam_ple.org",
        "ada@127.0.0.1",
        "x" * 65 + "@example.org",
        "ada@" + "x" * 64 + ".org",
        "ada@" + ("x" * 50 + ".") * 5 + "org",
        "ada\x00@example.org",
        "ada<script>@example.org",
    ],
)
def test_what_has_an_at_sign_is_an_email_address_or_nothing(name):
    assert parsed(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "ada@example.org",
        "o'brien+parley@mail.example.co",
        "_x@example.org",
        "用户@例子.公司",
        "x" * 64 + "@example.org",
    ],
)
def test_every_honest_address_is_welcome(name):
    assert parsed(name) == Username(name, name)


@pytest.mark.parametrize(
    "name",
    [
        "p\u0430ypal",  # a Cyrillic a among Latin letters
        "\u0391da",  # a Greek capital alpha
        "ada1\u0661",  # digits of two systems
        "ada\u3164",  # a letter without a shape
        "ada\ufe0f",  # chooses a shape, has none
        "a" + "\u0331" * 5 + "da",
    ],
)
def test_look_alikes_within_a_name_are_refused(name):
    assert parsed(name) is None


@pytest.mark.parametrize(
    "name",
    ["アダ李さん", "佐々木Ken", "한국어韓國", "Ольга_1", "עדה-7", "नमस्ते", "ข้าว", "adá\u0331"],
)
def test_scripts_that_are_written_together_make_a_name(name):
    assert parsed(name) is not None
