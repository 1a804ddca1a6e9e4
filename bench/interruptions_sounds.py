"""What a learner sounds like who speaks over the tutor.

`Tones` is for scripted models: how loud a tone is tells the recognizer what it says. `Voices` is
for real ones: sentences, "mhm" and its kin in several voices, coughs, and the tutor's own voice
coming back from the room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

from parley_cli.audio.files import Samples

RATE_HZ = 16_000
_TUTOR_HZ = 24_000

WORDS = "words"
COUGH = "cough"
ECHO = "echo"

WORDS_PEAK, BACKCHANNEL_PEAK = 4_000, 26_000
WORDS_MS, BACKCHANNEL_MS = 1_200, 350

# How far below the loudspeaker's own level its sound comes back, and how late: a laptop on a desk
# whose echo canceller has taken the most of it.
_ECHO_GAIN = 10 ** (-26 / 20)
_ECHO_DELAY_MS = 60
_ECHO_MS = 1_500
# Other people than the one voice there is: its sound played slower or faster.
_PITCHES = (0.82, 0.9, 1.0, 1.1)


@dataclass(frozen=True, slots=True)
class Sound:
    """What is said over the tutor: `WORDS`, `COUGH`, `ECHO`, or a backchannel's text.

    ``samples`` are int16 at `RATE_HZ` and begin with what can be heard.
    """

    kind: str
    samples: Samples

    @property
    def is_words(self) -> bool:
        """Whether it is to take the floor."""
        return self.kind == WORDS


class Sounds(Protocol):
    """Where a learner takes its sounds from."""

    def words(self, random: Random) -> Sound:
        """Return something that takes the floor."""
        ...

    def other(self, random: Random, playing: bytes) -> Sound:
        """Return something that does not; ``playing`` is what the loudspeaker plays next."""
        ...


class Tones:
    """Words and backchannels as the scripted recognizer tells them apart (`services.ai.script`)."""

    def words(self, random: Random) -> Sound:
        """Return a quiet tone."""
        return Sound(WORDS, _tone(WORDS_MS, WORDS_PEAK))

    def other(self, random: Random, playing: bytes) -> Sound:
        """Return a loud tone, shorter."""
        return Sound("mhm", _tone(BACKCHANNEL_MS, BACKCHANNEL_PEAK))


class Voices:
    """Speech and noises for real models.

    Args:
        sentences: recordings that take the floor.
        backchannels: the text of each and how it sounds (float32 at 24 kHz).
    """

    def __init__(
        self,
        sentences: Sequence[Samples],
        backchannels: Sequence[tuple[str, npt.NDArray[np.float32]]],
    ) -> None:
        self._sentences = [_from_its_onset(sentence) for sentence in sentences]
        self._backchannels = backchannels

    def words(self, random: Random) -> Sound:
        """Return one of the sentences."""
        return Sound(WORDS, random.choice(self._sentences))

    def other(self, random: Random, playing: bytes) -> Sound:
        """Return a backchannel three times in five, else a cough or the tutor's own echo."""
        draw = random.random()
        if draw < 0.2:
            return Sound(COUGH, cough(random))
        if draw < 0.4 and playing:
            return Sound(ECHO, echo(playing))
        text, sound = random.choice(self._backchannels)
        rate_hz = round(_TUTOR_HZ * random.choice(_PITCHES))
        samples = soxr.resample(np.asarray(sound * 32_767, np.int16), rate_hz, RATE_HZ)
        return Sound(text, _from_its_onset(samples))


def cough(random: Random) -> Samples:
    """Return one to three bursts of noise, each loud at once and gone in a quarter of a second."""
    generator = np.random.default_rng(random.getrandbits(32))
    bursts = []
    for _ in range(random.randint(1, 3)):
        length = RATE_HZ * random.randint(180, 280) // 1000
        noise = generator.standard_normal(length)
        # A throat damps what is high.
        noise = np.convolve(noise, np.hanning(9) / np.hanning(9).sum(), "same")
        bursts.append(noise * np.exp(-np.arange(length) / (RATE_HZ * 0.06)))
        bursts.append(np.zeros(RATE_HZ * random.randint(80, 200) // 1000))
    sound = np.concatenate(bursts)
    return np.asarray(sound / np.abs(sound).max() * random.randint(8_000, 24_000), np.int16)


def echo(playing: bytes) -> Samples:
    """Return what comes back of the tutor's voice (PCM at 24 kHz)."""
    tutor = np.frombuffer(playing, "<i2")[: _TUTOR_HZ * _ECHO_MS // 1000]
    quiet = np.asarray(tutor * _ECHO_GAIN, np.int16)
    return np.pad(soxr.resample(quiet, _TUTOR_HZ, RATE_HZ), (RATE_HZ * _ECHO_DELAY_MS // 1000, 0))


def _tone(length_ms: int, peak: int) -> Samples:
    turns = np.arange(length_ms * RATE_HZ // 1000) * (2 * np.pi * 200 / RATE_HZ)
    # A cosine: the first sample is as loud as any.
    return np.asarray(peak * np.cos(turns), np.int16)


def _from_its_onset(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 600)
    return samples[loud[0] :] if len(loud) else samples
