"""Codecs: lossless stays lossless, cuts are exact, lengths are kept, nothing is held whole."""

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.media.adapters import codec, spool
from services.media.adapters.originals import make_originals
from services.media.adapters.spool import Samples, Spool
from services.media.ports import DamagedError, VerificationError
from services.media.recordings import Track
from services.media.renditions import Encoding


def noise(count: int) -> Samples:
    return np.random.default_rng(count).integers(-32_768, 32_767, count).astype(np.int16)


def cut(samples: Any, sizes: list[int]) -> Iterator[Any]:
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(samples):
            return
        yield samples[at : at + size]
        at += size


def joined(pieces: Iterator[Samples]) -> Samples:
    return np.concatenate([np.zeros(0, np.int16), *pieces])


@pytest.mark.parametrize("count", [1, 15, 4_095, 4_096, 4_097, 100_001])
def test_flac_gives_back_every_sample(tmp_path: Path, count: int) -> None:
    samples, path = noise(count), tmp_path / "a.flac"
    assert codec.encode(path, Encoding.FLAC, 16_000, cut(samples, [1_000, 1, 7_777])) == count
    with path.open("rb") as file:
        assert np.array_equal(joined(codec.decode_flac(file, 0, count)), samples)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Samples]:
    path, samples = tmp_path_factory.mktemp("codec") / "a.flac", noise(200_000)
    codec.encode(path, Encoding.FLAC, 16_000, cut(samples, [65_536]))
    return path, samples


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 200_000), length=st.integers(0, 50_000))
def test_any_stretch_of_an_original_is_exact(
    original: tuple[Path, Samples], start: int, length: int
) -> None:
    path, samples = original
    with path.open("rb") as file:
        found = joined(codec.decode_flac(file, start, start + length))
    assert np.array_equal(found, samples[start : start + length])


FIRST_FRAME = 9_000
"""Before it lie the header and the room that FFmpeg leaves for tags."""


@settings(max_examples=40, deadline=None)
@given(at=st.floats(0, 1), bit=st.integers(0, 7))
def test_no_bit_of_an_original_changes_unnoticed(
    original: tuple[Path, Samples], at: float, bit: int
) -> None:
    path, samples = original
    data = bytearray(path.read_bytes())
    data[FIRST_FRAME + int(at * (len(data) - FIRST_FRAME - 1))] ^= 1 << bit
    try:
        found = joined(codec.decode_flac(io.BytesIO(data), 0, len(samples)))
    except DamagedError:
        return
    # A broken frame at an end leaves no gap; whoever asks knows how many there were.
    assert len(found) < len(samples)


@pytest.mark.parametrize("start", [0, 150_000])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) // 2] + bytes(len(data) // 2),
    ],
    ids=["empty", "zeros", "cut", "half zeros"],
)
def test_what_is_left_of_an_original_gives_no_other_samples(
    original: tuple[Path, Samples], damage: Callable[[bytes], bytes], start: int
) -> None:
    path, samples = original
    found: list[Samples] = []
    with suppress(DamagedError):
        found.extend(codec.decode_flac(io.BytesIO(damage(path.read_bytes())), start, 200_000))
    got = joined(iter(found))
    assert len(got) < 200_000 - start
    assert np.array_equal(got, samples[start : start + len(got)])


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 60_000),
    rates=st.tuples(*[st.sampled_from([8_000, 11_025, 16_000, 24_000, 44_100, 48_000])] * 2),
    sizes=st.lists(st.integers(1, 9_000), min_size=1, max_size=5),
)
def test_resampling_gives_exactly_the_length_asked_for(
    count: int, rates: tuple[int, int], sizes: list[int]
) -> None:
    before, after = rates
    wanted = round(count * after / before)
    found = list(codec.resample(cut(noise(count), sizes), before, after, wanted))
    assert sum(len(piece) for piece in found) == wanted


def test_resampling_keeps_a_tone_in_its_place() -> None:
    at = np.arange(16_000)
    tone = (10_000 * np.sin(2 * np.pi * 440 * at / 16_000)).astype(np.int16)
    found = joined(codec.resample(cut(tone, [1_600]), 16_000, 24_000, 24_000))
    expected = 10_000 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    assert np.abs(found[500:-500] - expected[500:-500]).max() < 300


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 70_000),
    one=st.lists(st.integers(1, 40_000), min_size=1, max_size=4),
    other=st.lists(st.integers(1, 40_000), min_size=1, max_size=4),
)
def test_a_mix_is_the_sum_whatever_the_pieces(count: int, one: list[int], other: list[int]) -> None:
    a, b = noise(count) // 4, np.roll(noise(count), 1) // 4
    found = joined(codec.as_samples(codec.mix([cut(a, one), cut(b, other)], [1.0, 1.0])))
    assert np.array_equal(found, a + b)


def test_each_track_of_a_mix_has_its_own_gain() -> None:
    a, b = noise(5_000) // 8, np.roll(noise(5_000), 1) // 8
    mixed = codec.mix([cut(a, [700]), cut(b, [900])], [0.5, 2.0])
    assert np.array_equal(np.concatenate(list(mixed)), a * 0.5 + b * 2.0)


def test_what_is_too_loud_is_turned_down_and_the_rest_is_not_touched() -> None:
    at = np.arange(48_000)
    sound = (10_000 * np.sin(2 * np.pi * 220 * at / 16_000)).astype(np.float32)
    sound[20_000:24_000] *= 5
    limited = np.concatenate(list(codec.limit(cut(sound, [1_000]), 16_000, 0.8)))
    assert len(limited) == len(sound)
    assert np.abs(limited).max() <= 0.8 * 32_768 * 1.001
    assert np.abs(limited[:19_000] - sound[:19_000]).max() < 1
    assert np.abs(limited[40_000:] - sound[40_000:]).max() < 40


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "expected"),
    [
        (Encoding.WAV, 11_111, 11_111),
        (Encoding.FLAC, 48_000, 48_000),
        (Encoding.OGG_OPUS, 22_050, 24_000),
        (Encoding.OGG_OPUS, 44_100, 48_000),
        (Encoding.MP3, 11_111, 12_000),
        (Encoding.MP3, 8_000, 8_000),
    ],
)
def test_a_codec_is_given_a_rate_that_loses_nothing(
    encoding: Encoding, rate_hz: int, expected: int
) -> None:
    assert codec.codec_rate_hz(encoding, rate_hz) == expected


def spooled(folder: Path, learner: Samples, tutor: Samples) -> dict[Track, int]:
    rates = {Track.LEARNER: 16_000, Track.TUTOR: 24_000}
    writer = Spool(folder, rates)
    writer.write(Track.LEARNER, 0, learner.astype("<i2").tobytes())
    writer.write(Track.TUTOR, 0, tutor.astype("<i2").tobytes())
    writer.close()
    return rates


def test_making_originals_can_be_repeated(tmp_path: Path) -> None:
    rates = spooled(tmp_path, noise(20_000), noise(10_000))
    first = make_originals(tmp_path, rates, 0)
    assert make_originals(tmp_path, rates, 0) == first
    assert first.duration_ms == 1_250
    assert first.tracks[Track.TUTOR].samples == 30_000


def test_an_original_that_is_not_what_was_recorded_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = spooled(tmp_path, noise(20_000), noise(30_000))
    decode = codec.decode_flac

    def one_sample_off(*args: object) -> Iterator[Samples]:
        for piece in decode(*args):
            yield piece ^ 1

    monkeypatch.setattr(codec, "decode_flac", one_sample_off)
    with pytest.raises(VerificationError):
        make_originals(tmp_path, rates, 0)


def test_without_a_spool_there_is_nothing_to_encode(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_originals(tmp_path / "gone", {Track.LEARNER: 16_000}, 0)
    assert spool.spooled(tmp_path / "gone", Track.LEARNER) == 0
