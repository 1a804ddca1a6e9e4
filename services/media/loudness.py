"""How loud the voices of a recording are, and how loud they are made in the mix.

A learner's microphone and a synthesizer are seldom equally loud; mixed as they are, one of them is
too quiet to follow. So each track's loudness is measured when its original is made (ITU-R BS.1770:
weighted as ears do, pauses left out), and the mix brings both to the same. The tracks themselves
stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.media.recordings import StoredTrack, Track

TARGET_LUFS: Final = -18.0
"""Of speech in streams that are listened to on phones and laptops (AES TD1008, 2021)."""

MOST_GAIN: Final = 10.0
"""20 dB: what is still quieter is a room without a voice, whose noise would be all there is."""

CEILING: Final = 0.8
"""Of full scale, -1.9 dB: EBU R 128 wants true peaks below -1 dB, which between two samples, and
in a lossy codec's result, are a little above the largest sample."""


def levels(tracks: Mapping[Track, StoredTrack]) -> dict[Track, float]:
    """Return what each track is multiplied by in the mix; 1 where nobody speaks."""
    return {track: _gain(stored.loudness_lufs) for track, stored in tracks.items()}


def may_clip(tracks: Mapping[Track, StoredTrack]) -> bool:
    """Tell whether the mix can go over the ceiling, should all voices be loudest at once."""
    gains = levels(tracks)
    highest = sum(stored.peak * gains[track] for track, stored in tracks.items())
    return highest > CEILING * 32768


def _gain(loudness_lufs: float | None) -> float:
    if loudness_lufs is None:
        return 1.0
    return min(MOST_GAIN, 10 ** ((TARGET_LUFS - loudness_lufs) / 20))
