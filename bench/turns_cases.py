"""Speech to take turns on: recordings as they are, and with pauses cut in where a word may end.

A pause is cut in at a valley of the recording's energy and filled with noise at the recording's
own floor, so that nothing but time is added. Valleys lie mostly between words; some lie in the
closure of a consonant. Every system hears the same files. All is seeded: a folder gives the same
cases everywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bench.live import RATE_HZ
from bench.speech import Utterance, VoiceEnd, with_certain_end
from parley_cli.audio.files import Samples

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 2.5
# A microphone is open before anybody talks.
LEAD_IN_S = 0.5
# Longer than the longest wait of any setting that is measured.
TAIL_S = 7.0

_FRAME = RATE_HZ // 100
# A pause begins after words and before words: this far from the ends of the speech.
_MARGIN_S = 0.5
# Two valleys nearer than this are one gap.
_APART_S = 0.2
# A valley lies this far below the level of speech.
_DEPTH_DB = 15.0
# Long enough that noise and speech join without a click.
_FADE = RATE_HZ // 200


@dataclass(frozen=True, slots=True)
class Case:
    """Audio, int16 mono at `RATE_HZ`, and the truth about it in seconds from its begin."""

    name: str
    audio: Samples
    speech_end_s: float
    pauses: tuple[tuple[float, float], ...]
    """Begin and length of each pause that was cut in; none for a recording as it is."""

    @property
    def recording(self) -> str:
        """The name of the recording that it was made of."""
        return self.name.partition(":")[0]

    @property
    def duration_s(self) -> float:
        """How long the audio is."""
        return len(self.audio) / RATE_HZ


def is_held_out(recording: str) -> bool:
    """Whether a recording is of the half on which no weight of Parley's turn-taking was fitted.

    Its name decides, so that nobody chooses.
    """
    return zlib.crc32(recording.encode()) % 2 == 1


def build_cases(
    utterances: Sequence[Utterance],
    paused: int,
    seed: int,
    voice_end: VoiceEnd,
    longest_pause_s: float = LONGEST_PAUSE_S,
) -> list[Case]:
    """Return each recording as it is and `paused` times with one or two pauses.

    A recording without a place for a pause appears only as it is; one whose end is not certain
    not at all.
    """
    cases = []
    for index, utterance, end in with_certain_end(utterances, voice_end):
        random = np.random.default_rng((seed, index))
        cases.append(_case(utterance, (), end, random))
        gaps = word_gaps(utterance.samples, end)
        for _ in range(paused if gaps else 0):
            count = min(len(gaps), int(random.integers(1, 3)))
            places = sorted(int(place) for place in random.choice(gaps, count, replace=False))
            lengths = random.uniform(SHORTEST_PAUSE_S, longest_pause_s, count)
            cuts = tuple(zip(places, (float(length) for length in lengths), strict=True))
            cases.append(_case(utterance, cuts, end, random))
    return cases


def cases_of_every_gap(
    utterances: Sequence[Utterance], pause_s: float, seed: int, voice_end: VoiceEnd
) -> list[Case]:
    """Return each recording as it is, and once for each of its gaps with a pause there."""
    cases = []
    for index, utterance, end in with_certain_end(utterances, voice_end):
        random = np.random.default_rng((seed, index))
        gaps = word_gaps(utterance.samples, end)
        cuts: list[tuple[tuple[int, float], ...]] = [(), *(((gap, pause_s),) for gap in gaps)]
        cases += [_case(utterance, cut, end, random) for cut in cuts]
    return cases


def word_gaps(samples: Samples, speech_end: int) -> list[int]:
    """Return where pauses may be cut in, in samples: valleys of energy inside the speech."""
    levels = _levels(samples)
    speech = float(np.percentile(levels, 95))
    begin = int(np.argmax(levels > speech - _DEPTH_DB))
    margin = int(_MARGIN_S * 100)
    first, last = begin + margin, speech_end // _FRAME - margin
    gaps: list[int] = []
    # The deepest first, so that of two near ones the deeper stays.
    for frame in sorted(range(first, max(first, last)), key=lambda each: levels[each]):
        if levels[frame] > speech - _DEPTH_DB:
            break
        if all(abs(frame - other) >= _APART_S * 100 for other in gaps):
            gaps.append(frame)
    return sorted(frame * _FRAME + _FRAME // 2 for frame in gaps)


def _case(
    utterance: Utterance,
    cuts: Sequence[tuple[int, float]],
    speech_end: int,
    random: np.random.Generator,
) -> Case:
    samples = utterance.samples
    # The level of the quietest tenth; the recordings' own end is as quiet.
    floor = 32768.0 * 10 ** (float(np.percentile(_levels(samples), 10)) / 20)

    def noise(seconds: float) -> npt.NDArray[np.float64]:
        return random.normal(0.0, floor, int(seconds * RATE_HZ))

    parts = [noise(LEAD_IN_S)]
    position, added = 0, len(parts[0])
    pauses = []
    for place, length in cuts:
        parts += [samples[position:place].astype(np.float64), noise(length)]
        pauses.append(((place + added) / RATE_HZ, length))
        added += len(parts[-1])
        position = place
    parts += [samples[position:].astype(np.float64), noise(TAIL_S)]
    audio = np.clip(_join(parts), -32768, 32767).astype(np.int16)
    label = "+".join(f"{length:.2f}" for _, length in cuts) or "plain"
    return Case(f"{utterance.name}:{label}", audio, (speech_end + added) / RATE_HZ, tuple(pauses))


def _join(parts: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Put the parts one after another; each fades in and out where it meets another."""
    ramp = np.linspace(0.0, 1.0, _FADE)
    faded = [part.copy() for part in parts]
    for left, right in pairwise(faded):
        left[-_FADE:] *= ramp[::-1]
        right[:_FADE] *= ramp
    return np.concatenate(faded)


def _levels(samples: Samples) -> npt.NDArray[np.float64]:
    """Return the level of each 10 ms in decibels of full scale."""
    frames = samples[: len(samples) - len(samples) % _FRAME].astype(np.float64) / 32768.0
    power = np.mean(frames.reshape(-1, _FRAME) ** 2, axis=1)
    return np.asarray(10 * np.log10(power + 1e-12))
