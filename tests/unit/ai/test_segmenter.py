"""Cutting at long pauses, with a detector that takes what is loud for voice."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ai.adapters.segmenter import Segment, Segmenter
from services.ai.capabilities import Pcm16, VoiceActivityCapabilities

SECOND = 16_000
FRAME = 512


class Loud:
    """Voice is what is loud."""

    capabilities = VoiceActivityCapabilities(FRAME)

    def open(self) -> "Loud":
        return self

    def probability(self, frame: Pcm16) -> float:
        assert len(frame) == FRAME
        return float(np.abs(frame).max() > 1000)

    def reset(self) -> None:
        pass


def sound(*stretches: tuple[str, float]) -> Pcm16:
    """Return sound of ``("voice", seconds)`` and ``("pause", seconds)``, in whole frames."""
    noise = np.random.default_rng(1)
    parts = []
    for what, seconds in stretches:
        samples = round(seconds * SECOND / FRAME) * FRAME
        level = 6000 if what == "voice" else 50
        parts.append(noise.uniform(-level, level, samples).astype(np.int16))
    return np.concatenate(parts)


def cut(audio: Pcm16, limit_s: float = 14.0) -> list[Segment]:
    segmenter = Segmenter(Loud(), limit_s)
    last = segmenter.advance(audio)
    return [*segmenter.closed, last]


def test_nothing_is_one_segment_of_nothing():
    assert cut(np.zeros(0, np.int16)) == [Segment(0, 0, 0)]


def test_what_has_no_voice_stays_whole():
    assert cut(sound(("pause", 3.0))) == [
        Segment(0, 3 * SECOND - 3 * SECOND % FRAME + FRAME, 48128)
    ]


def test_a_long_pause_parts_two_sentences():
    audio = sound(("pause", 0.5), ("voice", 1.5), ("pause", 0.8), ("voice", 1.0), ("pause", 0.1))
    first, second = cut(audio)
    # From a little before the first voice to a little after the last.
    assert first.start == pytest.approx(0.2 * SECOND, abs=FRAME)
    assert first.voice_end == pytest.approx(2.0 * SECOND, abs=2 * FRAME)
    assert first.end == first.voice_end + 0.3 * SECOND
    assert second.start == pytest.approx(2.5 * SECOND, abs=2 * FRAME)
    assert second.end == len(audio)


@pytest.mark.parametrize(
    ("voice_s", "pause_s"), [(1.5, 0.4), (0.6, 0.8)], ids=["short pause", "little voice"]
)
def test_what_belongs_together_is_not_cut(voice_s: float, pause_s: float):
    assert len(cut(sound(("voice", voice_s), ("pause", pause_s), ("voice", 1.0)))) == 1


def test_a_pause_cuts_only_once_somebody_goes_on():
    assert len(cut(sound(("voice", 2.0), ("pause", 5.0)))) == 1


def test_speech_without_a_pause_is_cut_at_the_limit():
    audio = sound(("voice", 20.0))
    audio[6 * SECOND : 6 * SECOND + 2000] = 0
    first, second, third = cut(audio, 8.0)
    assert 6 * SECOND <= first.end <= 6 * SECOND + 2000
    assert second.start == first.end
    assert third.end == len(audio)
    assert all(each.end - each.start <= 8 * SECOND for each in (first, second, third))


STRETCHES = st.lists(
    st.tuples(st.sampled_from(["voice", "pause"]), st.floats(0.1, 6.0)), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=50)
@given(STRETCHES, st.integers(1, 40_000))
def test_how_audio_comes_changes_no_cut(stretches: list[tuple[str, float]], step: int):
    audio = sound(*stretches)
    slowly = Segmenter(Loud(), 8.0)
    closed: list[Segment] = []
    for end in itertools.chain(range(0, len(audio), step), [len(audio)]):
        last = slowly.advance(audio[:end])
        assert slowly.closed[: len(closed)] == closed
        closed = list(slowly.closed)
    assert [*closed, last] == cut(audio, 8.0)


@settings(deadline=None, max_examples=50)
@given(STRETCHES)
def test_segments_are_in_order_and_hold_all_voice(stretches: list[tuple[str, float]]):
    audio = sound(*stretches)
    segments = cut(audio, 8.0)
    assert all(0 <= each.start <= each.voice_end <= each.end <= len(audio) for each in segments)
    assert all(one.voice_end <= other.start for one, other in itertools.pairwise(segments))
    assert all(each.end - each.start <= 8 * SECOND for each in segments)
    inside = np.zeros(len(audio), bool)
    for each in segments:
        inside[each.start : each.end] = True
    assert not np.any(np.abs(audio[~inside]) > 1000)
