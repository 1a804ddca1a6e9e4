"""New passwords: long enough, not the first that a guesser tries, and no other rules."""

import unicodedata

import pytest

from services.common.errors import InvalidArgument
from services.common.limits import DEFAULT_LIMITS
from services.user.password_rules import check_new_password, common_passwords


def refusal(password: str, username: str = "somebody") -> str:
    with pytest.raises(InvalidArgument) as caught:
        check_new_password(password, username, "password")
    assert [each.field for each in caught.value.fields] == ["password"]
    return caught.value.reason


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "PassWord1",
        "12345678",
        "qwertyuiop",
        "iloveyou1",
        "ｐａｓｓｗｏｒｄ",
        "aaaaaaaa",
        "x" * 256,
        "abcabcabca",
        "abcdefghi",
        "987654321",
        "αβγδεζηθικ",
    ],
)
def test_what_guessers_try_first_is_refused(password):
    assert refusal(password) == "PASSWORD_TOO_COMMON"


def test_a_password_has_so_many_characters_and_no_fewer_or_more():
    least, most = DEFAULT_LIMITS.min_password_characters, DEFAULT_LIMITS.max_password_characters
    letters = "kqzvxjwmfp" * most
    for length in (least, most):
        check_new_password(letters[:length], "somebody", "password")
    for length in (least - 1, most + 1):
        assert refusal(letters[:length]) == "INVALID_REQUEST"


@pytest.mark.parametrize("username", ["ada.lovelace", "ada.lovelace@example.org"])
@pytest.mark.parametrize("password", ["ada.lovelace", "Ada.Lovelace"])
def test_the_username_is_no_password(username, password):
    assert refusal(password, username) == "PASSWORD_TOO_COMMON"


@pytest.mark.parametrize(
    "password",
    ["seven77", "é" * 7, "A\u030a" * 7, "ab" * 129, "\ufdfa", "ｶﾞｷﾞｸﾞｹﾞ"],
)
def test_the_length_counts_whole_letters(password):
    assert refusal(password) == "INVALID_REQUEST"


@pytest.mark.parametrize(
    "password",
    [
        "eight 8!",
        "kqzvxjwm",
        "correct horse battery staple",
        "🦜🌵🎺🧵🪁🧭🛶🪴",
        "пароль из пяти слов",
        "w" * 128 + "q" * 128,
        "\0\0\0\0nul1",
        " leading and trailing ",
    ],
)
def test_nothing_else_is_demanded_of_it(password):
    check_new_password(password, "somebody", "password")


def test_the_list_holds_only_what_could_be_chosen():
    for each in common_passwords():
        assert len(each) >= 8
        assert each == unicodedata.normalize("NFKC", each).casefold()
    assert len(common_passwords()) > 10_000
