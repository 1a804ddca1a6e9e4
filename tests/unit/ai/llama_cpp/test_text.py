"""Text comes out whole: no half characters, and nothing of a stop string."""

import pytest

from services.ai.adapters.llama_cpp.text import TextJoiner


def joined(pieces: list[bytes], *stop: str) -> list[str]:
    joiner = TextJoiner(stop)
    return [*(joiner.add(piece) for piece in pieces), joiner.end()]


def test_a_character_over_several_tokens_comes_once_it_is_whole():
    assert joined([b"caf\xc3", b"\xa9 \xf0\x9f", b"\x98", b"\x80!"]) == ["caf", "é ", "", "😀!", ""]


def test_a_character_that_stays_half_is_marked_not_lost():
    assert joined([b"a\xf0\x9f"]) == ["a", "\ufffd"]


def test_what_may_begin_a_stop_string_waits():
    assert joined([b"one\n", b"two"], "\n\n") == ["one", "\ntwo", ""]


def test_nothing_of_a_stop_string_comes_out():
    assert joined([b"one", b"\n", b"\ntwo"], "\n\n") == ["one", "", "", ""]


def test_the_first_of_several_stop_strings_counts():
    assert joined([b"one End two STOP three"], "STOP", "End") == ["one ", ""]


def test_nothing_follows_a_stop_string():
    joiner = TextJoiner(("x",))
    assert (joiner.add(b"axb"), joiner.add(b"c"), joiner.end()) == ("a", "", "")
    assert joiner.stopped


def test_what_was_held_back_comes_at_the_end():
    assert joined([b"tell me #"], "###") == ["tell me ", "#"]


@pytest.mark.parametrize("stop", [(), ("",)])
def test_without_stop_strings_everything_comes_at_once(stop):
    assert joined([b"a", b"b"], *stop) == ["a", "b", ""]
