"""Interruptions of a Parley that hears and speaks with its real models.

What is said comes from recordings and from the synthesizer; how much of a reply was played is
read back from its sound by a recognizer, so that nobody who is measured judges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from bench.interruptions_learner import REPLY_HZ, Interruption
from bench.interruptions_sounds import RATE_HZ, Voices
from bench.recognition_direct import recognize_directly
from bench.recognition_normal_form import normal_form
from bench.speech import Utterance, read_utterances
from services.ai.adapters.hibari import HibariSynthesizer
from services.ai.compute import ComputePool

BACKCHANNELS = ("Mhm.", "Yeah.", "Uh-huh.", "Okay.", "Right.", "I see.", "Really?", "Oh, nice.")
# Of less than this a recognizer hears what it likes.
_READABLE_MS = 700


def voices(folder: Path) -> Voices:
    """Return sounds to interrupt with: the recordings of ``folder``, and backchannels."""
    return Voices(
        [utterance.samples for utterance in read_utterances(folder)],
        asyncio.run(_spoken(BACKCHANNELS)),
    )


async def _spoken(texts: Sequence[str]) -> list[tuple[str, npt.NDArray[np.float32]]]:
    pool = ComputePool(1, 1)
    try:
        synthesizer = HibariSynthesizer(pool)
        found = []
        for text in texts:
            pcm = b"".join([chunk.pcm async for chunk in synthesizer.stream(text, "", 1.0)])
            found.append((text, np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)))
        return found
    finally:
        pool.close()


def read_back(found: Sequence[Interruption], preset: str) -> None:
    """Say of every reply that was ended how many words `heard` is off, by what was played of it.

    Of a reply that was ended before anything can be read back, no word may have been heard beyond
    the first two.
    """
    ended = {str(index): one for index, one in enumerate(found) if one.ended}
    readable = [
        Utterance(name, soxr.resample(_pcm(one), REPLY_HZ, RATE_HZ), "", None)
        for name, one in ended.items()
        if one.played_ms >= _READABLE_MS
    ]
    played = asyncio.run(recognize_directly(preset, readable))[0].heard
    for name, one in ended.items():
        heard = len(normal_form(one.heard).split())
        if name in played:
            one.words_off = words_off(one.text, played[name], heard)
        else:
            one.words_off = max(0, heard - 2)


def _pcm(one: Interruption) -> npt.NDArray[np.int16]:
    return np.frombuffer(one.sound, "<i2")


def words_off(text: str, played: str, heard: int) -> int:
    """Return by how many words ``heard`` of ``text``'s are more or fewer than were played.

    ``played`` is a transcript of what was, with its errors: the beginning of the text that it
    resembles most was played. Where it resembles several alike, nobody can tell them apart.
    """
    distances = _to_beginnings(normal_form(text).split(), normal_form(played).split())
    least = min(distances)
    return min(abs(heard - words) for words, far in enumerate(distances) if far == least)


def _to_beginnings(text: Sequence[str], said: Sequence[str]) -> list[int]:
    """Return the edit distance of ``said`` to the first 0, 1, 2, … words of ``text``."""
    row = list(range(len(text) + 1))
    for word in said:
        above, row = row, [row[0] + 1]
        for wanted, (diagonal, up) in zip(text, pairwise(above), strict=True):
            row.append(min(diagonal + (wanted != word), up + 1, row[-1] + 1))
    return row
