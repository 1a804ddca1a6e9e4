"""What the turns of a conversation come to."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.history.conversations import PREVIEW_CHARACTERS, TurnFigures, shorten, total


def turn(
    speech_ms: int = 0,
    silence_ms: int | None = None,
) -> Any:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    return TurnFigures("turn", at, 1, speech_ms, silence_ms)


def test_no_turns_come_to_nothing() -> None:
    totals = total([], [])
    assert (totals.turns, totals.learner_speech_ms, totals.median_silence_ms) == (0, 0, 0)
    assert totals.preview == ""


def test_turns_without_a_reply_do_not_count_as_silence() -> None:
    turns = [turn(silence_ms=900), turn(), turn(silence_ms=100), turn(silence_ms=200)]
    assert total(turns, []).median_silence_ms == 200


def test_the_preview_is_the_first_thing_said_and_nothing_after_it_is_read() -> None:
    said = iter([(" ", "\n"), ("  ", "Welcome!"), ("second", "")])
    assert total([turn()], said).preview == "Welcome!"
    assert next(said) == ("second", "")


@given(st.text(max_size=400))
def test_a_preview_fits_on_one_line(text: str) -> None:
    short = shorten(text)
    assert len(short) <= PREVIEW_CHARACTERS
    assert "\n" not in short
    if len(" ".join(text.split())) <= PREVIEW_CHARACTERS:
        assert short == " ".join(text.split())


def test_a_long_text_is_cut_between_words_and_a_text_without_spaces_between_characters() -> None:
    assert shorten("one two three", 9) == "one two…"
    assert shorten("你好世界", 3) == "你好…"
