"""Page tokens are opaque, bound to their question, and safe to be given anything."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.history import page_tokens

ASKED = page_tokens.question("list", "user", None)


@given(st.text(max_size=40), st.integers())
def test_a_position_comes_back(text: str, number: int) -> None:
    token = page_tokens.encode(ASKED, text, number)
    assert token.isascii()
    assert page_tokens.decode(token, ASKED, str, int) == (text, number)


def test_the_empty_token_is_the_beginning() -> None:
    assert page_tokens.decode("", ASKED, int) is None


@given(st.text(min_size=1, max_size=200))
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
        page_tokens.decode(token, ASKED, int)


@pytest.mark.parametrize("position", [(True,), ("1",), (1, 2), (), (1.5,)])
def test_a_position_of_another_shape_is_refused(position: Any) -> None:
    token = page_tokens.encode(ASKED, *position)
    with pytest.raises(InvalidArgument):
        page_tokens.decode(token, ASKED, int)


def test_a_token_answers_one_question_only() -> None:
    token = page_tokens.encode(ASKED, 1)
    for other in (("list", "user", ""), ("list", "other", None), ("search", "user", None)):
        with pytest.raises(InvalidArgument):
            page_tokens.decode(token, page_tokens.question(*other), int)
