"""Decodes one uploaded file: hostile until it is samples.

What this module does, it does in a process that `decode_process` has put behind barriers. Decoders
are large C programs with a history of memory errors; the one that reads a stranger's file has
nothing to reach but that file and the one that it writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, Final

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as NothingMore
from av.error import FFmpegError, InvalidDataError
from av.filter import Graph

from services.media.adapters.structure import flac, whole
from services.media.adapters.structure.reading import HIGHEST_RATE_HZ as HIGHEST_INPUT_HZ
from services.media.adapters.structure.reading import MOST_CHANNELS
from services.media.problems import Problem, Refused

_CODECS: Final = frozenset(
    {"aac", "alac", "flac", "mp3", "mp3float", "opus", "libopus", "vorbis"}
    | {name for name in av.codecs_available if name.startswith("pcm_")}
)
"""No other decoder is ever opened, not even to look what kind of stream a file has."""

_RATES_HZ: Final = (8_000, 48_000)

HIGHEST_RATE_HZ: Final = _RATES_HZ[1]
"""Of what is kept: what is faster is converted."""

_MOST_STREAMS: Final = 16

_FEW_BROKEN: Final = 3
_BROKEN_SHARE: Final = 0.01

_SLACK_SECONDS: Final = 1.0
"""What a container says of its duration is rounded, and codecs add some at both ends."""


def decode(
    source: BinaryIO, container: str, target: BinaryIO, max_seconds: float
) -> tuple[int, int]:
    """Decode `source` to `target` as PCM_S16LE mono; return its rate in hertz and its samples.

    Raises:
        Refused: with what is wrong with it.
    """
    whole.check(source, container)
    stated = flac.samples(source) if container == "flac" else 0
    source.seek(0)
    try:
        rate_hz, samples, taken = _decode(source, container, target, max_seconds)
    except MemoryError:
        raise Refused(Problem.TOO_COSTLY) from None
    except (FFmpegError, ValueError) as error:
        out_of_memory = isinstance(error, av.error.MemoryError)
        raise Refused(Problem.TOO_COSTLY if out_of_memory else Problem.DAMAGED) from None
    if samples == 0:
        raise Refused(Problem.NO_AUDIO)
    if stated and taken != stated:
        raise Refused(Problem.TRUNCATED if taken < stated else Problem.DAMAGED)
    return rate_hz, samples


def _decode(
    source: BinaryIO, container: str, target: BinaryIO, max_seconds: float
) -> tuple[int, int, int]:
    """Return the rate in hertz, the samples written, and those that the file had."""
    options = {
        "codec_whitelist": ",".join(sorted(_CODECS)),
        "format_whitelist": container,
        "protocol_whitelist": "none",
        "max_streams": str(_MOST_STREAMS),
    }
    with av.open(source, "r", format=container, options=options) as file:
        if not file.streams.audio:
            raise Refused(Problem.NO_AUDIO)
        stream = file.streams.audio[0]
        # A stream of a codec that FFmpeg does not know has no context, whatever PyAV's types say.
        context: AudioCodecContext | None = stream.codec_context
        if context is None or context.name not in _CODECS:
            raise Refused(Problem.CODEC)
        if (
            file.duration is not None
            and file.duration / av.time_base > max_seconds + _SLACK_SECONDS
        ):
            # It says so itself: nothing needs to be decoded to know.
            raise Refused(Problem.TOO_LONG)
        if context.channels > MOST_CHANNELS or not (0 < (stream.rate or 0) <= HIGHEST_INPUT_HZ):
            raise Refused(Problem.DAMAGED)
        context.thread_count = 1
        # FLAC has checksums of every frame: what does not agree with them is not the sound.
        context.options = {"err_detect": "crccheck+explode"}
        rate_hz = min(max(stream.rate, _RATES_HZ[0]), _RATES_HZ[1])
        mono = _Mono(rate_hz)
        samples = 0
        for frame in mono.of(_frames(file, stream, every=context.name == "flac")):
            piece = frame.to_ndarray().reshape(-1).astype(np.dtype("<i2"))
            samples += len(piece)
            if samples > max_seconds * rate_hz:
                raise Refused(Problem.TOO_LONG)
            target.write(piece.tobytes())
    return rate_hz, samples, mono.taken


def _frames(file: InputContainer, stream: AudioStream, *, every: bool) -> Iterator[av.AudioFrame]:
    """Yield what the stream decodes to.

    every: whether a packet that cannot be decoded is one too many. Otherwise a few are left out, as
        players do: where files were joined, there is a tag in the middle; where one was cut out of
        a longer one, its first frames refer to what is not there.
    """
    packets = broken = 0
    for packet in file.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except InvalidDataError:
            broken += 1
            if every or broken > _FEW_BROKEN + packets * _BROKEN_SHARE:
                raise
            continue
        yield from frames


class _Mono:
    """Makes frames of any form 16-bit mono of one rate."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self.taken = 0

    def of(self, frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        graph: Graph | None = None
        form: tuple[int, str, str] | None = None
        for frame in frames:
            if form != (form := (frame.sample_rate, frame.format.name, frame.layout.name)):
                # It begins, or goes on in another form: joined files do.
                if graph is not None:
                    graph.push(None)
                    yield from _pulled(graph)
                graph = self._begin(frame)
            assert graph is not None
            self.taken += frame.samples
            frame.pts = None
            graph.push(frame)
            yield from _pulled(graph)
        if graph is not None:
            graph.push(None)
            yield from _pulled(graph)

    def _begin(self, frame: av.AudioFrame) -> Graph:
        graph = Graph()
        # PyAV's own resampler would begin threads, which a process behind barriers cannot.
        graph.threads = 1
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        convert = graph.add("aresample", str(self._rate_hz))
        form = graph.add(
            "aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={self._rate_hz}"
        )
        graph.link_nodes(source, convert, form, graph.add("abuffersink")).configure()
        return graph


def _pulled(graph: Graph) -> Iterator[av.AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (NothingYet, NothingMore):
            return
        assert isinstance(frame, av.AudioFrame)
        yield frame
