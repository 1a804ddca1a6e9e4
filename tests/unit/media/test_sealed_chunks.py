"""What Parley encrypts is opened whole or refused, and in any stretch."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.media.adapters.sealed_chunks import (
    CHUNK_BYTES,
    KEY_BYTES,
    SEALED_CHUNK_BYTES,
    BrokenSealError,
    SealedSize,
    cut,
    object_cipher,
    seal,
    unseal,
)
from services.media.adapters.sealing_keys import (
    SealingKeys,
    UnknownKeyError,
    WrongKeyError,
    new_key,
    wrapped_by,
)

KEY = bytes(range(KEY_BYTES))
DATA = os.urandom(3 * CHUNK_BYTES + 5_000)
NAME = "recordings/a/learner.flac"


def sealed(data: bytes, name: str = NAME, key: bytes = KEY) -> bytes:
    return b"".join(seal(object_cipher(key, name), 0, cut(data), ends=True))


def opened(kept: bytes, name: str = NAME, key: bytes = KEY) -> bytes:
    return unseal(object_cipher(key, name), SealedSize(len(kept)), 0, kept)


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(DATA)])
def test_what_was_sealed_is_opened(size: int) -> None:
    kept = sealed(DATA[:size])
    assert SealedSize(len(kept)).plain == size
    assert opened(kept) == DATA[:size]


def test_nothing_of_it_can_be_read_without_the_key() -> None:
    silence = bytes(3 * CHUNK_BYTES)
    kept = sealed(silence)
    assert bytes(64) not in kept
    assert len({kept[at : at + 1_000] for at in range(0, len(kept), SEALED_CHUNK_BYTES)}) == 3
    assert kept != sealed(silence), "twice the same is not seen to be the same"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, len(DATA)))
def test_any_stretch_needs_only_its_chunks(offset: int, length: int) -> None:
    kept = sealed(DATA)
    first, begin, end = SealedSize(len(kept)).span(offset, length)
    plain = unseal(object_cipher(KEY, NAME), SealedSize(len(kept)), first, kept[begin:end])
    skip = offset - first * CHUNK_BYTES
    assert plain[skip : skip + length] == DATA[offset : offset + length]
    assert end - begin <= (length // CHUNK_BYTES + 2) * SEALED_CHUNK_BYTES


SECOND = slice(SEALED_CHUNK_BYTES, 2 * SEALED_CHUNK_BYTES)


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept[:100] + bytes([kept[100] ^ 1]) + kept[101:],
        lambda kept: kept[:-SEALED_CHUNK_BYTES],
        lambda kept: kept[: 3 * SEALED_CHUNK_BYTES],
        lambda kept: kept[:-1],
        lambda kept: kept[SECOND] + kept[:SEALED_CHUNK_BYTES] + kept[SECOND.stop :],
        lambda kept: kept[: SECOND.start] + kept[SECOND.stop :],
        lambda kept: kept + b"x",
        lambda kept: bytes(5),
    ],
    ids=[
        "a bit",
        "shortened",
        "its end cut off",
        "a byte cut off",
        "exchanged",
        "left out",
        "longer",
        "nothing",
    ],
)
def test_whatever_was_changed_is_refused(change) -> None:
    with pytest.raises(BrokenSealError):
        opened(change(sealed(DATA)))


def test_one_objects_chunks_are_not_anothers() -> None:
    with pytest.raises(BrokenSealError):
        opened(sealed(DATA), name="recordings/a/tutor.flac")
    with pytest.raises(BrokenSealError):
        opened(sealed(DATA), key=bytes(KEY_BYTES))


class TestKeys:
    def test_the_first_key_wraps_and_all_open(self) -> None:
        old, new = new_key("2025"), new_key("2026")
        kept = SealingKeys.parse(old).wrap(KEY, "recordings/a/")
        both = SealingKeys.parse(f"{new}, {old}")
        assert wrapped_by(kept) == "2025"
        assert both.unwrap(kept, "recordings/a/") == KEY
        again = both.wrap(KEY, "recordings/a/")
        assert wrapped_by(again) == "2026"
        assert SealingKeys.parse(new).unwrap(again, "recordings/a/") == KEY

    def test_a_key_that_is_missing_or_another_is_told_apart(self) -> None:
        kept = SealingKeys.parse(new_key("2025")).wrap(KEY, "recordings/a/")
        with pytest.raises(UnknownKeyError):
            SealingKeys.parse(new_key("2026")).unwrap(kept, "recordings/a/")
        with pytest.raises(WrongKeyError):
            SealingKeys.parse(new_key("2025")).unwrap(kept, "recordings/a/")

    def test_a_recordings_key_opens_no_other_recording(self) -> None:
        keys = SealingKeys.parse(new_key("a"))
        kept = keys.wrap(KEY, "recordings/a/")
        with pytest.raises(WrongKeyError):
            keys.unwrap(kept, "recordings/b/")

    @pytest.mark.parametrize("kept", [b"", b"{}", b"[]", b'{"key": "a", "wrapped": 1}', b"\xff"])
    def test_what_is_no_wrapped_key_is_refused(self, kept: bytes) -> None:
        with pytest.raises(WrongKeyError):
            SealingKeys.parse(new_key("a")).unwrap(kept, "recordings/a/")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("nonsense", "32 bytes"),
            (":AAAA", "has a name"),
            ("a b:AAAA", "has a name"),
            ("a:AAAA", "32 bytes"),
            ("a:***", "32 bytes"),
        ],
    )
    def test_what_is_no_key_is_refused_without_being_shown(self, text: str, says: str) -> None:
        with pytest.raises(ValueError, match=says) as caught:
            SealingKeys.parse(text)
        assert "AAAA" not in str(caught.value)

    def test_two_of_one_name_are_refused(self) -> None:
        with pytest.raises(ValueError, match="two keys"):
            SealingKeys.parse(f"{new_key('a')},{new_key('a')}")

    def test_keys_are_not_shown(self) -> None:
        text = new_key("a")
        assert text.split(":")[1] not in repr(SealingKeys.parse(text))

    def test_no_key_at_all_is_none(self) -> None:
        assert SealingKeys.parse(" ").keys == {}
