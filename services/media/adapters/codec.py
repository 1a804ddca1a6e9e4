"""Audio files by PyAV (FFmpeg): samples in pieces to a file, and a file to samples in pieces.

Samples are int16 mono throughout. Everything streams; a recording is never in memory whole. All
functions block; call them in a pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as NothingMore
from av.filter import Graph

from services.media.adapters.spool import Samples
from services.media.ports import DamagedError
from services.media.renditions import Encoding

Floats = npt.NDArray[np.float32]
"""Samples that are being worked on: 32768 is full scale, and more is not lost yet."""

_FULL_SCALE = 32_768


@dataclass(frozen=True, slots=True)
class _Form:
    """How FFmpeg writes an encoding.

    rates_hz: sample rates that the codec takes, ascending; empty: any.
    bit_rate: for lossy codecs; transparent for one voice at these rates.
    """

    container: str
    codec: str
    rates_hz: tuple[int, ...] = ()
    bit_rate: int = 0
    options: tuple[tuple[str, str], ...] = ()


_FORMS = {
    Encoding.WAV: _Form("wav", "pcm_s16le"),
    Encoding.FLAC: _Form("flac", "flac"),
    # RFC 6716: Opus works at these rates; 32 kbit/s is its documented point for full-band speech.
    Encoding.OGG_OPUS: _Form(
        "ogg",
        "libopus",
        (8_000, 12_000, 16_000, 24_000, 48_000),
        32_000,
        (("application", "voip"),),
    ),
    # ISO 11172-3 and 13818-3, and MPEG 2.5 below 16 kHz.
    Encoding.MP3: _Form(
        "mp3",
        "libmp3lame",
        (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
        64_000,
    ),
}


def codec_rate_hz(encoding: Encoding, rate_hz: int) -> int:
    """Return the lowest rate that `encoding` takes and that loses nothing of `rate_hz`."""
    rates = _FORMS[encoding].rates_hz
    return next((rate for rate in rates if rate >= rate_hz), rates[-1] if rates else rate_hz)


def encode(path: Path, encoding: Encoding, rate_hz: int, pieces: Iterable[Samples]) -> int:
    """Write samples at `rate_hz` to a file of `encoding`; return how many there were.

    `rate_hz` must be one that `codec_rate_hz` gives.
    """
    form = _FORMS[encoding]
    count = 0
    # bitexact: no encoder version in the file, so the same samples make the same bytes.
    options = {"fflags": "+bitexact"}
    with av.open(str(path), "w", format=form.container, options=options) as container:
        stream = cast(
            AudioStream,
            container.add_stream(form.codec, rate=rate_hz, options=dict(form.options)),
        )
        stream.codec_context.layout = "mono"
        stream.codec_context.format = _sample_format(stream.codec_context)
        if form.bit_rate:
            stream.bit_rate = form.bit_rate
        for piece in pieces:
            frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = rate_hz
            frame.pts = count
            count += len(piece)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return count


def decode_flac(file: BinaryIO, start: int, stop: int) -> Iterator[Samples]:
    """Yield the samples from `start` up to `stop` of an original, or as far as it goes.

    Raises:
        DamagedError: a frame is not as it was encoded, or one is missing in between.
    """
    try:
        with av.open(file, "r", format="flac") as container:
            stream = container.streams.audio[0]
            # Left to itself, FFmpeg plays what a broken frame decodes to, and skips what does not.
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
            if start:
                container.seek(start, stream=stream, backward=True)
            at: int | None = None
            for frame in container.decode(stream):
                # FLAC's time base is one sample, so a time stamp is a sample's index.
                if at is not None and frame.pts != at:
                    raise DamagedError(f"after sample {at:,} comes {frame.pts or 0:,}")
                at = frame.pts or 0
                piece = _samples(frame)
                first, last = max(start - at, 0), min(stop - at, len(piece))
                at += len(piece)
                if first < last:
                    yield piece[first:last]
                if at >= stop:
                    return
    except av.FFmpegError as error:
        raise DamagedError(f"it does not decode: {type(error).__name__}") from error


def resample(pieces: Iterable[Samples], rate_hz: int, to_hz: int, count: int) -> Iterator[Samples]:
    """Yield `pieces` at another rate: exactly `count` samples, cut or filled with silence."""
    converted = pieces if rate_hz == to_hz else _converted(pieces, rate_hz, to_hz)
    left = count
    for piece in converted:
        if left <= 0:
            return
        yield piece[:left]
        left -= len(piece)
    while left > 0:
        size = min(left, _BLOCK_SAMPLES)
        yield np.zeros(size, np.int16)
        left -= size


def mix(tracks: Sequence[Iterable[Samples]], gains: Sequence[float]) -> Iterator[Floats]:
    """Yield the sum of tracks of the same rate and length, each times its gain.

    What goes over full scale, 32768, is not cut off yet.
    """
    for blocks in zip(*map(_blocks, tracks), strict=True):
        total = np.zeros(len(blocks[0]), np.float32)
        for block, gain in zip(blocks, gains, strict=True):
            total += block.astype(np.float32) * np.float32(gain)
        yield total


def limit(pieces: Iterable[Floats], rate_hz: int, ceiling: float) -> Iterator[Floats]:
    """Yield pieces turned down for a moment wherever they go over `ceiling`, a share of full scale.

    As many samples come out as go in, each at its place; what stays below is not touched.
    """
    graph = Graph()
    graph.threads = 1
    source = graph.add_abuffer(
        sample_rate=rate_hz, format="flt", layout="mono", time_base=Fraction(1, rate_hz)
    )
    # It looks 5 ms ahead, less than a voice's period, and lets go within a syllable.
    limiter = graph.add(
        "alimiter", f"limit={ceiling}:attack=5:release=100:level=disabled:latency=1"
    )
    form = graph.add("aformat", "sample_fmts=flt")
    graph.link_nodes(source, limiter, form, graph.add("abuffersink")).configure()
    at = 0
    for piece in pieces:
        frame = av.AudioFrame.from_ndarray(
            (piece / np.float32(_FULL_SCALE)).reshape(1, -1), format="flt", layout="mono"
        )
        frame.sample_rate = rate_hz
        frame.pts = at
        at += len(piece)
        graph.push(frame)
        yield from _pulled(graph)
    graph.push(None)
    yield from _pulled(graph)


def as_samples(pieces: Iterable[Floats]) -> Iterator[Samples]:
    """Yield pieces rounded to samples; what does not fit them is cut off."""
    for piece in pieces:
        yield np.clip(np.rint(piece), -32768, 32767).astype(np.int16)


def _pulled(graph: Graph) -> Iterator[Floats]:
    while True:
        try:
            frame = graph.pull()
        except (NothingYet, NothingMore):
            return
        yield cast(Floats, cast(av.AudioFrame, frame).to_ndarray().reshape(-1) * _FULL_SCALE)


# 16 Ki samples: two of them as floats stay in the processor's cache.
_BLOCK_SAMPLES = 16_384


def _blocks(pieces: Iterable[Samples]) -> Iterator[Samples]:
    """Cut pieces of any sizes into blocks of one size; the last may be shorter."""
    held: list[Samples] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _BLOCK_SAMPLES:
            joined = np.concatenate(held)
            whole = size - size % _BLOCK_SAMPLES
            for at in range(0, whole, _BLOCK_SAMPLES):
                yield joined[at : at + _BLOCK_SAMPLES]
            held, size = [joined[whole:]], size - whole
    if size:
        yield np.concatenate(held)


def _converted(pieces: Iterable[Samples], rate_hz: int, to_hz: int) -> Iterator[Samples]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=to_hz)
    at = 0
    for piece in pieces:
        frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate_hz
        frame.pts = at
        at += len(piece)
        for out in resampler.resample(frame):
            yield _samples(out)
    for out in resampler.resample(None):
        yield _samples(out)


def _samples(frame: av.AudioFrame) -> Samples:
    """Return a mono frame's samples; frames here are s16 or s16p, which are the same for mono."""
    return cast(Samples, frame.to_ndarray().reshape(-1))


def _sample_format(context: AudioCodecContext) -> str:
    """Return the codec's own form of 16-bit samples."""
    formats = [each.name for each in context.codec.audio_formats or ()]
    return next(name for name in ("s16", "s16p") if name in formats)
