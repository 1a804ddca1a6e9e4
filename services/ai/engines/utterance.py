"""The learner's audio: the time line it stands on, and the utterance under way."""

from __future__ import annotations

import asyncio
import bisect
import math
from collections import deque

import numpy as np

from services.ai.audio import samples_of_ms
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    RecognitionSession,
    Transcript,
)
from services.ai.fallback import Switch

# Voice activity is seen a little late, and the first consonant is the quietest: this much audio
# from before the onset belongs to the utterance.
_PRE_ROLL = samples_of_ms(320)
# The turn detector looks at eight seconds; keep a little more.
_RECENT = samples_of_ms(9_000)
# Arrival times are kept for as long as a turn's longest wait, at 20 ms a message.
_ARRIVALS = 600


class Microphone:
    """Cuts incoming audio into frames and remembers the last seconds and when they came.

    Positions are samples on the session's time line.
    """

    def __init__(self, first_sample: int, frame_samples: int) -> None:
        self.position = first_sample
        self._frame = frame_samples
        self._rest: Pcm16 = np.zeros(0, np.int16)
        self._recent: deque[Pcm16] = deque(maxlen=_RECENT // frame_samples)
        self._ends: deque[int] = deque(maxlen=_ARRIVALS)
        self._times: deque[float] = deque(maxlen=_ARRIVALS)
        self._received = first_sample

    def frames(self, audio: Pcm16, now_s: float) -> list[Pcm16]:
        """Add audio that came at ``now_s``; return the frames that are now whole.

        The caller takes them one by one with ``take``.
        """
        self._received += len(audio)
        self._ends.append(self._received)
        self._times.append(now_s)
        if len(self._rest):
            audio = np.concatenate([self._rest, audio])
        whole = len(audio) - len(audio) % self._frame
        self._rest = audio[whole:]
        return [audio[i : i + self._frame] for i in range(0, whole, self._frame)]

    def take(self, frame: Pcm16) -> None:
        """Move the position to the end of ``frame``."""
        self.position += len(frame)
        self._recent.append(frame)

    def before(self, samples: int) -> Pcm16:
        """Return the last ``samples`` taken, or as many as are kept."""
        count = math.ceil(samples / self._frame)
        frames = list(self._recent)[-count:] if count > 0 else []
        return np.concatenate(frames) if frames else np.zeros(0, np.int16)

    def spoken_at(self, position: int) -> float:
        """Return when the sample at ``position`` was spoken, on the monotonic clock.

        A message is sent once its last sample was recorded, so a sample inside it is older by what
        follows it. Of the messages from that sample on, the one that was least held up tells: a
        machine that stood still for a moment takes its messages late, and that wait was real.
        """
        if not self._ends:
            return 0.0
        first = min(bisect.bisect_left(self._ends, position), len(self._ends) - 1)
        later = range(first, len(self._ends))
        origin = min(self._times[i] - self._ends[i] / LEARNER_RATE_HZ for i in later)
        return origin + min(position, self._ends[-1]) / LEARNER_RATE_HZ


class Utterance:
    """One utterance: its recognition, and what is known at each of its pauses."""

    def __init__(
        self, recognition: RecognitionSession, start: int, pre_roll: Pcm16, position: int
    ) -> None:
        self.start = start
        self.recognition = recognition
        self.audio_start = position - len(pre_roll)
        self.transcripts: dict[int, asyncio.Task[Transcript]] = {}
        self.speech_end = start
        self.next_caption = 0
        self.speculations = 0
        self.switches: list[Switch] = []
        recognition.feed(pre_roll)

    @staticmethod
    def pre_roll_samples(start: int, position: int) -> int:
        """Return how much audio before ``position`` belongs to an utterance begun at ``start``."""
        return position - start + _PRE_ROLL

    def feed(self, frame: Pcm16) -> None:
        """Add audio."""
        self.recognition.feed(frame)

    def close(self) -> None:
        """Let the audio and what is being recognised go."""
        for task in self.transcripts.values():
            task.cancel()
        self.recognition.close()
