"""Recordings from files: any rate, any channel count, WAV, FLAC, MP3 or Ogg Vorbis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import miniaudio
import numpy as np
import numpy.typing as npt
import soxr

from parley_cli.failures import CliFailure, ExitCode

Samples = npt.NDArray[np.int16]

# Shorter than any syllable: such a file is a mistake, not an utterance.
SHORTEST_MS = 100
# An hour of CD audio is 635 MB decoded; more than that is a mistake too.
_LARGEST_FILE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded file.

    Attributes:
        path: where it came from.
        samples: int16 mono at `sample_rate_hz`.
        sample_rate_hz: as asked for.
        source_rate_hz: what the file has.
        source_channels: what the file has.
    """

    path: Path
    samples: Samples
    sample_rate_hz: int
    source_rate_hz: int
    source_channels: int

    @property
    def duration_ms(self) -> float:
        """How long it is."""
        return len(self.samples) * 1000 / self.sample_rate_hz


def read_recording(path: Path, sample_rate_hz: int) -> Recording:
    """Decode a file to one channel at a rate.

    Channels are averaged; rates are changed by soxr at its high quality.

    Raises:
        CliFailure: there is no such file, it is no audio, or it is shorter than `SHORTEST_MS`.
    """
    data = _read_bytes(path)
    try:
        info = _probe(data)
        decoded = miniaudio.decode(
            data,
            output_format=miniaudio.SampleFormat.FLOAT32,
            # What the file has: mixing and resampling are done below, in one quality.
            nchannels=info.nchannels,
            sample_rate=info.sample_rate,
        )
    except miniaudio.DecodeError as error:
        raise CliFailure(
            f"{path} is not a recording that can be read.",
            advice="Give a WAV, FLAC, MP3 or Ogg Vorbis file; others can be converted with "
            f"`ffmpeg -i {path.name} -ar 16000 -ac 1 out.wav`.",
            exit_code=ExitCode.USAGE,
            details=str(error),
        ) from error
    channels, rate = decoded.nchannels, decoded.sample_rate
    samples = np.frombuffer(decoded.samples, dtype=np.float32)
    if channels > 1:
        samples = samples[: len(samples) // channels * channels]
        samples = samples.reshape(-1, channels).mean(axis=1)
    if len(samples) * 1000 < SHORTEST_MS * rate:
        raise CliFailure(
            f"{path} holds {len(samples) * 1000 / rate:.0f} ms of sound; an utterance has at "
            f"least {SHORTEST_MS} ms.",
            advice="Record it again, or leave it out.",
            exit_code=ExitCode.USAGE,
        )
    if rate != sample_rate_hz:
        samples = soxr.resample(samples, rate, sample_rate_hz, quality="HQ")
    return Recording(path, _to_int16(samples), sample_rate_hz, rate, channels)


def _probe(data: bytes) -> Any:
    """Return what miniaudio knows of a file; the content decides, never the name."""
    probes = (
        miniaudio.wav_get_info,
        miniaudio.flac_get_info,
        miniaudio.vorbis_get_info,
        # Last: an MP3 decoder looks for a frame anywhere, so it recognises most.
        miniaudio.mp3_get_info,
    )
    for probe in probes:
        try:
            info = probe(data)
        except miniaudio.DecodeError:
            continue
        if info.nchannels > 0 and info.sample_rate > 0:
            return info
    raise miniaudio.DecodeError("no known audio format")


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise CliFailure(
                f"{path} is larger than {_LARGEST_FILE_BYTES // 1024**2} MiB.",
                advice="Cut it into utterances first.",
                exit_code=ExitCode.USAGE,
            )
        data = path.read_bytes()
    except OSError as error:
        raise CliFailure(
            f"Cannot read {path}: {(error.strerror or str(error)).lower()}.",
            advice="Check the path.",
            exit_code=ExitCode.USAGE,
        ) from error
    if not data:
        raise CliFailure(f"{path} is empty.", advice="Record it again.", exit_code=ExitCode.USAGE)
    return data


def _to_int16(samples: npt.NDArray[np.float32]) -> Samples:
    rounded: Samples = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    return rounded
