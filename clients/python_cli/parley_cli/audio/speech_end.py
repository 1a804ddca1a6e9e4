"""Where speech truly ends in a recording, and where a reply truly begins to sound.

Both are judged by energy alone, so the measure depends on no model, ours or another's.

End of speech: the end of the last run of at least `RUN_FRAMES` frames of 10 ms whose level lies
above a threshold between the recording's own noise floor and its own speech level:
max(floor + 10 dB, speech - 35 dB, -60 dBFS), at most speech - 6 dB, where the floor is the 10th
percentile of the frame levels and speech the 95th. A breath or a click is shorter or quieter.

Begin of sound: the first sample beyond -40 dBFS; a synthesizer's lead-in lies far below.
"""

from __future__ import annotations

import numpy as np

from parley_cli.audio.files import Samples

RUN_FRAMES = 3
_FRAME_MS = 10
_SOUNDING_LEVEL = 328  # -40 dBFS of int16


def speech_end_sample(samples: Samples, sample_rate_hz: int) -> int | None:
    """Return the index one past the last sample of speech; None where nothing stands out.

    Args:
        samples: int16 mono.
        sample_rate_hz: of `samples`.
    """
    frame = sample_rate_hz * _FRAME_MS // 1000
    count = len(samples) // frame
    if count < RUN_FRAMES:
        return None
    frames = samples[: count * frame].astype(np.float64).reshape(count, frame) / 32768.0
    levels = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    floor, speech = np.percentile(levels, [10, 95])
    threshold = min(max(floor + 10, speech - 35, -60.0), max(speech - 6, -60.0))
    loud = levels > threshold
    run = 0
    for index in range(count - 1, -1, -1):
        run = run + 1 if loud[index] else 0
        if run == RUN_FRAMES:
            return (index + RUN_FRAMES) * frame
    return None


def first_sounding_sample(samples: Samples) -> int | None:
    """Return the index of the first audible sample; None where all is silence."""
    sounding = np.flatnonzero(np.abs(samples.astype(np.int32)) > _SOUNDING_LEVEL)
    return int(sounding[0]) if len(sounding) else None
