"""Speech by Edge's read-aloud voices, through `edge-tts`: MP3, decoded as it arrives.

The service sends the words with their times, which name the word that was heard last.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

import aiohttp
import av
import edge_tts
import numpy as np
from edge_tts.exceptions import EdgeTTSException, NoAudioReceived

from services.ai.adapters.http_failures import broke_off, status_failure, unreachable, unreadable
from services.ai.adapters.speech import Pieces, chosen, is_speakable, voices_of
from services.ai.audio import ms_of_samples
from services.ai.capabilities import (
    ProviderRefusedError,
    ProviderTimeoutError,
    SpeechChunk,
    SynthesizerCapabilities,
    Word,
    WordTiming,
)
from services.ai.engine_file import EdgeSpeech
from services.ai.streams import timely

# The one format that edge-tts asks for: 24 kHz mono at a constant 48 kbit/s.
SAMPLE_RATE_HZ = 24_000
# Times are in units of 100 ns.
_TICKS_PER_MS = 10_000


class KeptConnector(aiohttp.TCPConnector):
    """Stays open when the client closes a session, since a wrong clock takes it a second one.

    ``let_go`` closes it.
    """

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Do nothing yet."""

    async def let_go(self) -> None:
        """Close every connection."""
        await super().close(abort_ssl=True)


Connect = Callable[[], KeptConnector]


def synthesizer(name: str, part: EdgeSpeech, _: None) -> EdgeSynthesizer:
    """Return the synthesizer that ``part`` describes. Opens no connection yet."""
    return EdgeSynthesizer(name, part)


class EdgeSynthesizer:
    """Speaks elsewhere, over a connection for each clause. ``connect`` makes it, for tests."""

    def __init__(self, name: str, part: EdgeSpeech, connect: Connect = KeptConnector) -> None:
        self._name = name
        self._part = part
        self._connect = connect
        self._capabilities = SynthesizerCapabilities(
            sample_rate_hz=SAMPLE_RATE_HZ,
            word_timing=WordTiming.ALIGNED,
            voices=voices_of(part.voices, SAMPLE_RATE_HZ, name),
        )

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """24 kHz, with the times of words."""
        return self._capabilities

    async def stream(self, text: str, voice: str, speed: float) -> AsyncIterator[SpeechChunk]:
        """Yield the speech as it arrives."""
        voice = chosen(voice, self._capabilities.voices, self._name)
        if not is_speakable(text):
            return
        speech = timely(
            self._chunks(text, voice, speed),
            first_s=self._part.first_timeout_s,
            next_s=self._part.next_timeout_s,
            who=self._name,
        )
        async with aclosing(speech) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _chunks(
        self, text: str, voice: str, speed: float
    ) -> AsyncGenerator[SpeechChunk, None]:
        part = self._part
        connector = self._connect()
        timeline = _Timeline()
        with _failures(self._name):
            try:
                speaking = edge_tts.Communicate(
                    text,
                    voice,
                    rate=_rate(speed),
                    boundary="WordBoundary",
                    connector=connector,
                    proxy=part.proxy,
                    connect_timeout=math.ceil(part.connect_timeout_s),
                    receive_timeout=math.ceil(max(part.first_timeout_s, part.next_timeout_s)),
                )
                async for message in speaking.stream():
                    if message["type"] == "audio":
                        if chunk := timeline.add_audio(message["data"]):
                            yield chunk
                    else:
                        timeline.add_word(
                            message["text"], int(message["offset"]), int(message["duration"])
                        )
                # The client counts a part's bytes until the service says that it is over, and says
                # nothing itself where the connection ends before.
                is_whole = not speaking.state["chunk_audio_bytes"]
            finally:
                # Whatever the client still has open: a reply that was silenced must not go on.
                await connector.let_go()
        if not is_whole:
            raise broke_off(self._name)
        if chunk := timeline.end():
            yield chunk


class _Timeline:
    """Turns MP3 and words, which come in any order, into chunks that hold their own words."""

    def __init__(self) -> None:
        # Some ten microseconds a frame of 24 ms: not worth a thread.
        self._decoder = av.CodecContext.create("mp3", "r")
        self._pieces = Pieces(SAMPLE_RATE_HZ)
        self._words: deque[Word] = deque()
        self._samples = 0

    def add_word(self, text: str, offset_ticks: int, duration_ticks: int) -> None:
        """Add a word."""
        start_ms = offset_ticks // _TICKS_PER_MS
        self._words.append(Word(text, start_ms, start_ms + duration_ticks // _TICKS_PER_MS))

    def add_audio(self, data: bytes) -> SpeechChunk | None:
        """Add audio; return a chunk when one is large enough."""
        piece = b""
        for packet in self._decoder.parse(data):
            piece += self._pieces.add(self._decoded(packet))
        return self._chunk(piece, last=False) if piece else None

    def end(self) -> SpeechChunk | None:
        """Return what is left."""
        rest = b"".join(self._decoded(packet) for packet in (*self._decoder.parse(b""), None))
        piece = self._pieces.add(rest) + self._pieces.end()
        return self._chunk(piece, last=True) if piece or self._words else None

    def _chunk(self, piece: bytes, *, last: bool) -> SpeechChunk:
        begin_ms = ms_of_samples(self._samples, SAMPLE_RATE_HZ)
        self._samples += len(piece) // 2
        end_ms = ms_of_samples(self._samples, SAMPLE_RATE_HZ)
        words = []
        while self._words and (last or self._words[0].start_ms < end_ms):
            word = self._words.popleft()
            # A word that came after its audio stands at the chunk's beginning, as near as it can.
            start_ms = max(0, word.start_ms - begin_ms)
            words.append(Word(word.text, start_ms, max(start_ms, word.end_ms - begin_ms)))
        return SpeechChunk(piece, tuple(words))

    def _decoded(self, packet: av.Packet[Any] | None) -> bytes:
        parts = []
        for frame in self._decoder.decode(packet):
            samples = frame.to_ndarray()[0].astype(np.float32)
            if frame.format.name.startswith("s16"):
                samples /= 32768.0
            parts.append((np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())
        return b"".join(parts)


@contextmanager
def _failures(who: str) -> Iterator[None]:
    """Tell of what the client raises as ``ProviderError``."""
    try:
        yield
    except aiohttp.WSServerHandshakeError as error:
        if error.status == 403:
            raise ProviderRefusedError(f"{who} refuses this machine (403)") from error
        headers: Mapping[str, str] = error.headers or {}
        raise status_failure(who, error.status, None, headers) from error
    except TimeoutError as error:
        raise ProviderTimeoutError(f"{who} took too long to answer") from error
    except aiohttp.ClientError as error:
        raise unreachable(who) from error
    except NoAudioReceived as error:
        raise broke_off(who) from error
    except (EdgeTTSException, av.FFmpegError, ValueError, KeyError, TypeError) as error:
        raise unreadable(who) from error


def _rate(speed: float) -> str:
    """Return ``speed`` as the service takes it: the difference in per cent."""
    return f"{round(100 * (min(max(speed, 0.5), 2.0) - 1)):+d}%"
