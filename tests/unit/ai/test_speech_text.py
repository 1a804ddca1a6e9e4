"""Places of a reply's words that come without any."""

from __future__ import annotations

from services.ai.engines.speech_text import MS_PER_CHARACTER, SpokenText


def test_words_wait_for_the_sound_that_they_are_in():
    text = SpokenText(1.0)
    text.add("Nice to meet you")
    assert text.up_to(0) == ("", 0)
    assert text.up_to(int(5 * MS_PER_CHARACTER)) == ("Nice to", 0)
    assert text.up_to(10_000) == (" meet", int(7 * MS_PER_CHARACTER))
    # The last word may go on.
    text.add("rself")
    assert text.rest(10_000) == (" yourself", int(12 * MS_PER_CHARACTER))


def test_what_is_left_begins_at_the_end_of_the_sound_at_the_latest():
    text = SpokenText(1.0)
    text.add("Nice to meet you")
    text.up_to(400)
    words, at_ms = text.rest(500)
    assert words.strip()
    assert at_ms <= 500


def test_fast_speech_brings_words_sooner():
    slow, fast = SpokenText(0.5), SpokenText(2.0)
    for each in (slow, fast):
        each.add("Nice to meet you, Ana. ")
    assert len(fast.up_to(400)[0]) > len(slow.up_to(400)[0])
