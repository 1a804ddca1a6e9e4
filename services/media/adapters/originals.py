"""From a spool to lossless originals, and from originals to what is played.

Both stream through files, and block: call them in a pool.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from services.media.adapters import codec, spool
from services.media.adapters.spool import Samples
from services.media.ports import OpenOriginal, Originals, VerificationError
from services.media.recordings import Recording, StoredTrack, Track, mix_gain
from services.media.renditions import Encoding, Rendition
from services.media.timeline import common_duration_ms, ms_to_samples

WAVEFORM_HZ = 10
"""Peaks a second; the contract says so."""


def make_originals(folder: Path, rates_hz: Mapping[Track, int], said_ms: int) -> Originals:
    """Make every track equally long, encode it to FLAC, and prove that nothing was lost.

    May be repeated: what an interrupted attempt left is made anew.

    Raises:
        VerificationError: when decoding gives other samples than went in.
        OSError: when the disk is full.
    """
    duration_ms = common_duration_ms(
        said_ms, [(spool.spooled(folder, track), rate) for track, rate in rates_hz.items()]
    )
    tracks: dict[Track, StoredTrack] = {}
    files: dict[Track, Path] = {}
    peaks: dict[Track, list[int]] = {}
    for track, rate_hz in rates_hz.items():
        spool.resize(folder, track, ms_to_samples(duration_ms, rate_hz))
        files[track] = folder / f"{track.label}.flac"
        meter = _Meter(rate_hz)
        codec.encode(files[track], Encoding.FLAC, rate_hz, meter.watch(spool.read(folder, track)))
        _verify(files[track], meter)
        _sync(files[track])
        peaks[track] = meter.peaks
        tracks[track] = StoredTrack(
            rate_hz, meter.samples, files[track].stat().st_size, meter.sha256, meter.peak
        )
    return Originals(duration_ms, tracks, files, _waveform(peaks, tracks))


def render(recording: Recording, wanted: Rendition, open_original: OpenOriginal, to: Path) -> None:
    """Write a rendition to the file `to`, which appears only when it is complete."""
    partial = to.with_name(f"{to.name}.part")
    sources = [track for track in recording.tracks if wanted.track in (track, Track.MIX)]
    # The mix has the highest rate of its tracks, so it loses nothing of either.
    rate_hz = codec.codec_rate_hz(
        wanted.encoding, max(recording.tracks[track].rate_hz for track in sources)
    )
    count = ms_to_samples(wanted.to_ms, rate_hz) - ms_to_samples(wanted.from_ms, rate_hz)
    files = {track: open_original(track) for track in sources}
    try:
        pieces = [
            codec.resample(
                _stretch(files[track], recording.tracks[track].rate_hz, wanted),
                recording.tracks[track].rate_hz,
                rate_hz,
                count,
            )
            for track in sources
        ]
        gain = mix_gain({track: recording.tracks[track].peak for track in sources})
        mixed = codec.mix(pieces[0], pieces[1], gain) if len(pieces) == 2 else pieces[0]
        codec.encode(partial, wanted.encoding, rate_hz, mixed)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        for file in files.values():
            file.close()
    partial.replace(to)


def _stretch(file: BinaryIO, rate_hz: int, wanted: Rendition) -> Iterator[Samples]:
    start = ms_to_samples(wanted.from_ms, rate_hz)
    return codec.decode_flac(file, start, ms_to_samples(wanted.to_ms, rate_hz))


class _Meter:
    """Measures samples that pass by."""

    def __init__(self, rate_hz: int) -> None:
        self._window = max(rate_hz // WAVEFORM_HZ, 1)
        self._digest = hashlib.sha256()
        self._in_window = 0
        self.samples = 0
        self.peak = 0
        self.peaks: list[int] = []

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def watch(self, pieces: Iterable[Samples]) -> Iterator[Samples]:
        for piece in pieces:
            self._digest.update(piece.astype("<i2", copy=False).tobytes())
            self._measure(piece)
            self.samples += len(piece)
            yield piece

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


def _verify(path: Path, meter: _Meter) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in codec.decode_flac(file, 0, meter.samples + 1):
            digest.update(piece.astype("<i2", copy=False).tobytes())
    if digest.hexdigest() != meter.sha256:
        raise VerificationError(f"{path.name} does not decode to what was recorded")


def _waveform(peaks: Mapping[Track, list[int]], tracks: Mapping[Track, StoredTrack]) -> bytes:
    """Draw the mix: the most it can come to in each tenth of a second, 0 to 255."""
    gain = mix_gain({track: stored.peak for track, stored in tracks.items()})
    length = max((len(each) for each in peaks.values()), default=0)
    total = np.zeros(length)
    for each in peaks.values():
        total[: len(each)] += each
    return bytes(np.clip(total * gain / 32768 * 255, 0, 255).astype(np.uint8))


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
