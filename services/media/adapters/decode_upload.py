"""Decodes one uploaded file in a process of its own; `uploads` starts it.

    python -m services.media.adapters.decode_upload IN CONTAINER OUT MAX_SECONDS

An uploaded file is hostile until it is samples. Decoders are large C programs with a history of
memory errors, so whatever one of them does here, it does without the service's memory, keys and
connections, and within limits of memory, time and disk. The answer is one line of JSON on
standard output: `{"rate_hz": …, "samples": …}` or `{"problem": kind, "detail": …}`.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError

MEMORY_BYTES = 1024 * 1024 * 1024
"""Address space; decoding a stream of any length takes about 300 MB, nearly all of it code."""

CPU_SECONDS = 60
"""Three hours of MP3 decode in about 20 s on one slow core."""

_ALLOWED_CODECS = frozenset({"flac", "mp3", "mp3float", "opus", "libopus", "vorbis"})
_RATES_HZ = (8_000, 48_000)


def main(arguments: list[str]) -> int:
    """Decode, write the samples as PCM_S16LE mono, and print what came of it."""
    source, container, target, max_seconds = arguments
    _limit(round(float(max_seconds) * _RATES_HZ[1] * 2) + 1024 * 1024)
    try:
        answer = decode(Path(source), container, Path(target), float(max_seconds))
    except (FFmpegError, ValueError, MemoryError) as error:
        # Their messages name our paths: the kind is enough.
        answer = {"problem": "unreadable", "detail": type(error).__name__}
    print(json.dumps(answer))  # noqa: T201 - the answer to the parent
    return 0


def decode(source: Path, container: str, target: Path, max_seconds: float) -> dict[str, object]:
    """Decode `source` to `target`; return the answer. In a process of its own alone, but for tests.

    Raises:
        FFmpegError, ValueError, MemoryError: it is none of what it is said to be.
    """
    with av.open(str(source), "r", format=container) as file:
        if not file.streams.audio:
            return {"problem": "no_audio", "detail": "no audio track"}
        stream = file.streams.audio[0]
        # A stream of a codec that FFmpeg does not know has no context, whatever PyAV's types say.
        context: AudioCodecContext | None = stream.codec_context
        name = context.name if context is not None else "unknown"
        if name not in _ALLOWED_CODECS and not name.startswith("pcm_"):
            return {"problem": "unreadable", "detail": f"codec {name}"}
        rate_hz = min(max(stream.rate or 0, _RATES_HZ[0]), _RATES_HZ[1])
        samples = 0
        with target.open("wb") as out:
            for frame in _mono(file.decode(stream), rate_hz):
                piece = frame.to_ndarray().reshape(-1).astype(np.dtype("<i2"))
                samples += len(piece)
                if samples > max_seconds * rate_hz:
                    return {"problem": "too_long", "detail": f"over {max_seconds:g} s"}
                out.write(piece.tobytes())
    if samples == 0:
        return {"problem": "no_audio", "detail": "no samples"}
    return {"rate_hz": rate_hz, "samples": samples}


def _mono(frames: Iterator[av.AudioFrame], rate_hz: int) -> Iterator[av.AudioFrame]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    for frame in frames:
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _limit(output_bytes: int) -> None:
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, output_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
