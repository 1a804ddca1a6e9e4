"""Taking the tutor's own voice out of what the microphone hears.

The echo canceller is WebRTC's (AEC3, as browsers run it), from `pywebrtc-audio`. It needs, beside
each 10 ms of the microphone, the 10 ms that the loudspeaker was given at about that time; it finds
the delay between the two by itself, up to some 400 ms, and follows it, as long as the echo comes
after its reference and the two do not slide against each other. `EchoCanceller` sees to that:

- what the sound card is given is queued where it is given, so that the queue never lacks what can
  be heard already;
- the queue begins when the microphone does, with no more in it than one reading;
- where cards jitter, a missing stretch is filled once, before what comes late; from then on that
  much stays in the queue;
- what stays in the queue for a whole second is more than jitter needs (a clock that runs faster, a
  reading that was lost), and is dropped, or the reference would come after its echo.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import soxr
from pywebrtc_audio import EchoCanceller as WebRtcEchoCanceller

from parley_cli.audio.files import Samples

# WebRTC's unit of work.
_FRAME_MS = 10
# How much may stay queued for good: the jitter of a 20 ms period and of the resampler's blocks. An
# echo takes at least a period out and a period in, 40 ms, so its reference still comes first.
_SPARE_MS = 20
# Over how many readings of 10 ms the least that stays is looked for: 1 s.
_WATCHED_FRAMES = 100
# Played and not asked for: a microphone that hangs must not fill the memory. Older is dropped.
_LONGEST_MS = 2000


class EchoCanceller:
    """Cleans the microphone of one conversation.

    `played` may be called from the sound card's thread; `clean` from one thread.

    Args:
        capture_rate_hz: of the microphone: a multiple of 100.
        playback_rate_hz: of what is played.
    """

    def __init__(self, *, capture_rate_hz: int, playback_rate_hz: int) -> None:
        self._canceller = WebRtcEchoCanceller(sample_rate=capture_rate_hz)
        self._frame = capture_rate_hz * _FRAME_MS // 1000
        self._spare_limit = capture_rate_hz * _SPARE_MS // 1000
        # Its lowest quality: the others hold back up to 40 ms, as long as an echo may take.
        self._resample = (
            None
            if capture_rate_hz == playback_rate_hz
            else soxr.ResampleStream(
                playback_rate_hz, capture_rate_hz, 1, dtype="int16", quality="LQ"
            )
        )
        self._lock = threading.Lock()
        self._given: deque[Samples] = deque()
        self._given_count = 0
        self._given_limit = playback_rate_hz * _LONGEST_MS // 1000
        self._reference = np.zeros(0, dtype=np.int16)
        self._heard = np.zeros(0, dtype=np.int16)
        self._begun = False
        self._frames = 0
        self._spare: int | None = None

    def played(self, samples: Samples) -> None:
        """Take note of what the sound card is given now, silence included."""
        with self._lock:
            self._given.append(samples)
            self._given_count += len(samples)
            while self._given_count > self._given_limit and len(self._given) > 1:
                self._given_count -= len(self._given.popleft())

    def clean(self, samples: Samples) -> Samples:
        """Return what the microphone heard, without the echo.

        Whole stretches of 10 ms come back at once; the rest waits for the next call.
        """
        heard = np.concatenate([self._heard, samples])
        count = len(heard) // self._frame * self._frame
        heard, self._heard = heard[:count], heard[count:]
        if not count:
            return heard
        cleaned: Samples = self._canceller.process(heard, self._next_reference(count))
        return cleaned

    @property
    def waiting_samples(self) -> int:
        """How much of the microphone waits for the next call, below 10 ms."""
        return len(self._heard)

    def _next_reference(self, count: int) -> Samples:
        reference = np.concatenate([self._reference, *self._newly_given()])
        if not self._begun:
            self._begun = True
            reference = reference[-count:]
        missing = max(0, count - len(reference))
        reference = np.concatenate([np.zeros(missing, dtype=np.int16), reference])
        self._reference = reference[count:]
        self._drop_spare(count // self._frame)
        return reference[:count]

    def _newly_given(self) -> list[Samples]:
        with self._lock:
            given, self._given = list(self._given), deque()
            self._given_count = 0
        if self._resample is None:
            return given
        return [self._resample.resample_chunk(samples) for samples in given]

    def _drop_spare(self, frames: int) -> None:
        left = len(self._reference)
        self._spare = left if self._spare is None else min(self._spare, left)
        self._frames += frames
        if self._frames >= _WATCHED_FRAMES:
            if self._spare > self._spare_limit:
                self._reference = self._reference[self._spare - self._spare_limit // 2 :]
            self._frames, self._spare = 0, None
