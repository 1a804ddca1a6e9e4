"""Measures samples that pass by on their way into an original."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

import av
import numpy as np
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as NothingMore
from av.filter import Graph

from services.media.adapters.spool import Samples

WAVEFORM_HZ: Final = 10
"""Peaks a second; the contract says so."""

_SILENCE_LUFS: Final = -70.0
"""What BS.1770 leaves out as silence, and its meter says where there is nothing else."""


class Meter:
    """Counts, hashes and measures the samples of one track.

    samples: how many passed.
    peak: the largest absolute value, 0 to 32768.
    peaks: the same for each tenth of a second.
    """

    def __init__(self, rate_hz: int) -> None:
        self._window = max(rate_hz // WAVEFORM_HZ, 1)
        self._digest = hashlib.sha256()
        self._loudness = LoudnessMeter(rate_hz)
        self._in_window = 0
        self.samples = 0
        self.peak = 0
        self.peaks: list[int] = []

    @property
    def sha256(self) -> str:
        """Of the samples as PCM_S16LE, in hex."""
        return self._digest.hexdigest()

    @property
    def loudness_lufs(self) -> float | None:
        """Integrated loudness, when all have passed; None of silence."""
        return self._loudness.integrated_lufs

    def watch(self, pieces: Iterable[Samples]) -> Iterator[Samples]:
        """Yield the pieces as they are."""
        for piece in pieces:
            self._digest.update(piece.astype("<i2", copy=False).tobytes())
            self._measure(piece)
            self._loudness.add(piece)
            self.samples += len(piece)
            yield piece
        self._loudness.end()

    def _measure(self, piece: Samples) -> None:
        # int32: the absolute value of -32768 does not fit 16 bits.
        loudness = np.abs(piece.astype(np.int32))
        self.peak = max(self.peak, int(loudness.max(initial=0)))
        at = 0
        while at < len(loudness):
            if self._in_window == 0:
                self.peaks.append(0)
            end = min(at + self._window - self._in_window, len(loudness))
            self.peaks[-1] = max(self.peaks[-1], int(loudness[at:end].max()))
            self._in_window = (self._in_window + end - at) % self._window
            at = end


class LoudnessMeter:
    """Loudness by ITU-R BS.1770-4 and EBU R 128, of one channel: FFmpeg's `ebur128`."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._taken = 0
        self._last = _SILENCE_LUFS
        self._graph = Graph()
        self._graph.threads = 1
        source = self._graph.add_abuffer(
            sample_rate=rate_hz, format="s16", layout="mono", time_base=Fraction(1, rate_hz)
        )
        meter = self._graph.add("ebur128", "metadata=1")
        self._graph.link_nodes(source, meter, self._graph.add("abuffersink")).configure()

    @property
    def integrated_lufs(self) -> float | None:
        """What all of it comes to; None where it is silent, or shorter than 400 ms."""
        return self._last if self._last > _SILENCE_LUFS else None

    def add(self, piece: Samples) -> None:
        """Measure the next samples."""
        if not len(piece):
            return
        frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._rate_hz
        frame.pts = self._taken
        self._taken += len(piece)
        self._graph.push(frame)
        self._pull()

    def end(self) -> None:
        """Measure what is still held back; nothing can be added after it."""
        self._graph.push(None)
        self._pull()

    def _pull(self) -> None:
        while True:
            try:
                frame = self._graph.pull()
            except (NothingYet, NothingMore):
                return
            said = frame.metadata.get("lavfi.r128.I")
            if said is not None:
                self._last = float(said)
