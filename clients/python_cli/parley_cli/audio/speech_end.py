"""Where speech truly ends in a recording, and where a reply truly begins to sound.

Both are judged by energy alone, so the measure depends on no model, ours or another's.

End of speech: the end of the last run of at least `RUN_FRAMES` frames of 10 ms whose level lies
above a threshold between the recording's own noise floor and its own speech level:
max(floor + 10 dB, speech - 35 dB, -60 dBFS), at most speech - 6 dB, where the floor is the 10th
percentile of the frame levels and speech the 95th. A breath or a click is shorter or quieter.

Begin of sound: the first sample beyond -40 dBFS; a synthesizer's lead-in lies far below.

No speech at all: nothing stands out above -60 dBFS, or what there is is faint and never changes.
Both bounds lean towards speech: whispering into a bad microphone passes, and the server judges it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parley_cli.audio.files import Samples

RUN_FRAMES = 3
_FRAME_MS = 10
_SOUNDING_LEVEL = 328  # -40 dBFS of int16
# Below -60 dBFS 16 bits hold a handful of steps: no recognizer makes words of it.
_FAINTEST_SPEECH_DBFS = -60.0
# An even hiss counts as no speech only below this; a louder one is somebody's to hear.
_FAINT_DBFS = -40.0
# Syllables rise 15 dB and more over the pauses between them, and over 6 dB even where a steady
# noise half covers them. Frames of steady noise lie within 4 dB of each other.
_LEAST_RISE_DB = 6.0


def speech_end_sample(samples: Samples, sample_rate_hz: int) -> int | None:
    """Return the index one past the last sample of speech; None where nothing stands out.

    Args:
        samples: int16 mono.
        sample_rate_hz: of `samples`.
    """
    frame = sample_rate_hz * _FRAME_MS // 1000
    levels = _levels_dbfs(samples, frame)
    if len(levels) < RUN_FRAMES:
        return None
    floor, speech = np.percentile(levels, [10, 95])
    faintest = _FAINTEST_SPEECH_DBFS
    threshold = min(max(floor + 10, speech - 35, faintest), max(speech - 6, faintest))
    loud = levels > threshold
    run = 0
    for index in range(len(levels) - 1, -1, -1):
        run = run + 1 if loud[index] else 0
        if run == RUN_FRAMES:
            return (index + RUN_FRAMES) * frame
    return None


def holds_speech(samples: Samples, sample_rate_hz: int) -> bool:
    """Tell whether there may be speech; False only for silence and for faint, steady noise.

    Args:
        samples: int16 mono, of any length.
        sample_rate_hz: of `samples`.
    """
    levels = _levels_dbfs(samples, sample_rate_hz * _FRAME_MS // 1000)
    if len(levels) < RUN_FRAMES:
        return False
    # The level that a whole run reaches, so that a click is none.
    runs = np.min(np.lib.stride_tricks.sliding_window_view(levels, RUN_FRAMES), axis=1)
    loudest = float(runs.max())
    if loudest < _FAINTEST_SPEECH_DBFS:
        return False
    return loudest >= _FAINT_DBFS or loudest - float(np.percentile(levels, 10)) >= _LEAST_RISE_DB


def first_sounding_sample(samples: Samples) -> int | None:
    """Return the index of the first audible sample; None where all is silence."""
    sounding = np.flatnonzero(np.abs(samples.astype(np.int32)) > _SOUNDING_LEVEL)
    return int(sounding[0]) if len(sounding) else None


def _levels_dbfs(samples: Samples, frame: int) -> npt.NDArray[np.float64]:
    """Return the power of each whole frame of `frame` samples."""
    count = len(samples) // frame
    frames = samples[: count * frame].astype(np.float64).reshape(count, frame) / 32768.0
    levels: npt.NDArray[np.float64] = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    return levels
