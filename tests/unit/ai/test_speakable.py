"""What a synthesizer is given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.speakable import speakable


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("**Great** job!", "Great job!"),
        ("# Title", "Title"),
        ("- one thing", "one thing"),
        ("1. First", "First"),
        ("Use `print` here", "Use print here"),
        ("```python\nprint(1)\n```", ""),
        ("Look: ```python\nprint(1)", "Look:"),
        ("See [this page](https://example.org).", "See this page."),
        ("Go to https://example.org now", "Go to now"),
        ("Nice! 😊👍🏽", "Nice!"),
        ("*smiles* Hello there.", "Hello there."),
        ("Tutor: Hello there.", "Hello there."),
        ("Hello. Learner: I am fine.", "Hello."),
        ("<|im_end|>Hello", "Hello"),
        ("<b>Bold</b> move", "Bold move"),
        ("Rock & roll, 50%", "Rock and roll, 50 percent"),
        ("Say “hello” and don't worry", "Say “hello” and don't worry"),
        ("café", "café"),
        ("...", ""),
        ("😊", ""),
        ("", ""),
    ],
)
def test_only_what_can_be_said_is_left(written: str, said: str):
    assert speakable(written) == said


@given(st.text(max_size=200))
def test_whatever_a_model_writes_is_one_line_without_markup(written: str):
    said = speakable(written)
    assert said == said.strip()
    assert "\n" not in said
    assert not set(said) & set("*_#`<>{}[]|~\\")


@given(st.text(max_size=120))
def test_making_speakable_twice_changes_nothing_that_matters(written: str):
    once = speakable(written)
    assert len(speakable(once)) <= len(once)
