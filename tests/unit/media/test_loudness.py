"""How loud a voice is, by ITU-R BS.1770 and EBU Tech 3341, and how loud the mix makes it."""

import numpy as np
import pytest

from services.media.adapters.metering import LoudnessMeter, Meter
from services.media.adapters.spool import Samples
from services.media.loudness import CEILING, MOST_GAIN, TARGET_LUFS, levels, may_clip
from services.media.recordings import StoredTrack, Track


def sine(level_db: float, seconds: float, rate_hz: int = 48_000) -> Samples:
    """Return 1 kHz with so large a peak, below full scale."""
    at = np.arange(round(rate_hz * seconds))
    peak = 32_768 * 10 ** (level_db / 20)
    return np.rint(peak * np.sin(2 * np.pi * 1_000 * at / rate_hz)).astype(np.int16)


def measured(samples: Samples, rate_hz: int = 48_000) -> float | None:
    meter = LoudnessMeter(rate_hz)
    for at in range(0, len(samples), 10_007):
        meter.add(samples[at : at + 10_007])
    meter.end()
    return meter.integrated_lufs


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_a_sine_is_as_loud_as_the_standard_says_at_every_rate(rate_hz: int) -> None:
    """BS.1770-4, annex 1: 997 Hz of full scale in one channel is -3.01 LUFS."""
    found = measured(sine(-20.0, 3.0, rate_hz), rate_hz)
    assert found == pytest.approx(-23.0, abs=0.15)


def test_pauses_do_not_make_a_voice_quieter() -> None:
    """EBU Tech 3341, case 3: what is 10 LU below the rest is left out."""
    parts = [sine(-36.0, 5), sine(-20.0, 20), sine(-36.0, 5)]
    assert measured(np.concatenate(parts)) == pytest.approx(-23.0, abs=0.15)
    silence = np.zeros(48_000 * 20, np.int16)
    assert measured(np.concatenate([silence, sine(-20.0, 10)])) == pytest.approx(-23.0, abs=0.2)


@pytest.mark.parametrize("samples", [np.zeros(48_000, np.int16), sine(-20.0, 0.2)])
def test_silence_and_a_click_have_no_loudness(samples: Samples) -> None:
    assert measured(samples) is None


def track(loudness_lufs: float | None, peak: int = 1_000) -> StoredTrack:
    return StoredTrack(16_000, 16_000, 100, "", peak, loudness_lufs)


def test_both_voices_are_brought_to_the_same_loudness() -> None:
    gains = levels({Track.LEARNER: track(-30.0), Track.TUTOR: track(-14.0)})
    made = {Track.LEARNER: -30.0, Track.TUTOR: -14.0}
    for each, gain in gains.items():
        assert made[each] + 20 * np.log10(gain) == pytest.approx(TARGET_LUFS)


def test_a_silent_room_is_not_made_loud() -> None:
    gains = levels({Track.LEARNER: track(-65.0), Track.TUTOR: track(None)})
    assert gains == {Track.LEARNER: MOST_GAIN, Track.TUTOR: 1.0}


def test_a_mix_that_stays_below_the_ceiling_is_not_limited() -> None:
    below = int(CEILING * 32_768) // 2
    assert not may_clip({Track.LEARNER: track(None, below), Track.TUTOR: track(None, below)})
    assert may_clip({Track.LEARNER: track(None, below), Track.TUTOR: track(None, below + 2)})


def test_a_meter_measures_and_changes_nothing() -> None:
    samples = sine(-20.0, 1.0, 16_000)
    meter = Meter(16_000)
    assert np.array_equal(
        np.concatenate(list(meter.watch([samples[:5_000], samples[5_000:]]))), samples
    )
    assert (meter.samples, meter.peak, len(meter.peaks)) == (16_000, np.abs(samples).max(), 10)
    assert meter.loudness_lufs == pytest.approx(-23.0, abs=0.2)
