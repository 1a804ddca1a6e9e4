"""From a spool to lossless originals. Streams through files, and blocks: call it in a pool."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from services.media.adapters import codec, spool
from services.media.adapters.metering import Meter
from services.media.loudness import CEILING, levels
from services.media.ports import DamagedError, Originals, VerificationError
from services.media.recordings import StoredTrack, Track
from services.media.renditions import Encoding
from services.media.timeline import common_duration_ms, ms_to_samples


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
        files[track] = spool.original_path(folder, track)
        meter = Meter(rate_hz)
        codec.encode(files[track], Encoding.FLAC, rate_hz, meter.watch(spool.read(folder, track)))
        _verify(files[track], meter)
        _sync(files[track])
        peaks[track] = meter.peaks
        tracks[track] = StoredTrack(
            rate_hz,
            meter.samples,
            files[track].stat().st_size,
            meter.sha256,
            meter.peak,
            meter.loudness_lufs,
        )
    return Originals(duration_ms, tracks, files, _waveform(peaks, tracks))


def _verify(path: Path, meter: Meter) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for piece in codec.decode_flac(file, 0, meter.samples + 1):
                digest.update(piece.astype("<i2", copy=False).tobytes())
    except DamagedError as error:
        raise VerificationError(f"{path.name}: {error}") from error
    if digest.hexdigest() != meter.sha256:
        raise VerificationError(f"{path.name} does not decode to what was recorded")


def _waveform(peaks: Mapping[Track, list[int]], tracks: Mapping[Track, StoredTrack]) -> bytes:
    """Draw the mix: the most it can come to in each tenth of a second, 0 to 255."""
    gains = levels(tracks) if len(tracks) > 1 else dict.fromkeys(tracks, 1.0)
    length = max((len(each) for each in peaks.values()), default=0)
    total = np.zeros(length)
    for track, each in peaks.items():
        total[: len(each)] += np.multiply(each, gains[track])
    highest = CEILING if len(tracks) > 1 else 1.0
    return bytes((np.minimum(total / 32768, highest) * 255).astype(np.uint8))


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
