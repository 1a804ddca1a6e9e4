"""Recognition by servers that listen while the learner speaks, whatever their protocol.

A stream is opened when somebody first asks for words, and gets what was said before at once. The
final words come when it is ended, which every pause of the learner asks for. When they go on after
it, a new stream hears a short utterance again from its beginning, since a word cut in two is two
words; of a long one only what is new. So no stream grows beyond what servers allow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from services.ai.adapters.http_failures import broke_off
from services.ai.audio import ms_of_samples, pcm_from_bytes, samples_of_ms
from services.ai.capabilities import (
    EMPTY_TRANSCRIPT,
    LEARNER_RATE_HZ,
    Pcm16,
    ProviderBusyError,
    ProviderError,
    ProviderTimeoutError,
    RecognizerCapabilities,
    Transcript,
    Word,
    WordTiming,
)
from services.ai.engine_file import Elsewhere
from services.ai.transcripts import time_words, transcript_of

# Ten minutes are 19 MB; turn taking ends a turn long before.
MAX_AUDIO_S = 600.0
# Below this peak, 0.3 % of full scale, nothing is said: these models make words up from silence.
_SILENT_PEAK = 100
# What is heard again after a pause: short enough to cost little, long enough for any sentence.
_AGAIN = samples_of_ms(15_000)
# Google ends a stream after five minutes. Full-policy of a stream: ended here, and a new one begun.
_LONGEST_STREAM = samples_of_ms(240_000)
# Messages of this length keep the requests small: Google takes 25 KB.
_MESSAGE = samples_of_ms(200)


@dataclass(frozen=True, slots=True)
class Result:
    """Words of a stream, timed from its beginning; later ones replace those that are not final.

    ``timed`` false: ``words`` have no times.
    """

    words: tuple[Word, ...]
    final: bool
    timed: bool


class StreamWire(Protocol):
    """One provider's protocol."""

    def recognize(self, audio: AsyncIterator[bytes]) -> AsyncGenerator[Result, None]:
        """Send ``audio``, int16 little-endian PCM at 16 kHz; yield results until both are over.

        Raises ``ProviderError``.
        """

    async def aclose(self) -> None:
        """Close every connection."""


class StreamedRecognizer:
    """Recognises over streams of one wire."""

    def __init__(
        self, name: str, part: Elsewhere, wire: StreamWire, language: str, timing: WordTiming
    ) -> None:
        self.name = name
        self.part = part
        self.wire = wire
        self._language = language
        self._timing = timing

    @property
    def capabilities(self) -> RecognizerCapabilities:
        """Captions, and words with times and confidence where they are asked for."""
        return RecognizerCapabilities(
            partials=True,
            word_timing=self._timing,
            word_confidence=self._timing is WordTiming.ALIGNED,
            languages=(self._language,),
            max_audio_s=MAX_AUDIO_S,
        )

    def open(self) -> StreamedRecognition:
        """Start recognising one utterance. Connects once words are asked for."""
        return StreamedRecognition(self)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.wire.aclose()


@dataclass(slots=True)
class _Stream:
    """One stream: where in the utterance it begins, how far it was sent, and what came of it.

    ``until`` is where it ends; None while the learner may go on.
    """

    begin: int
    sent: int
    until: int | None = None
    results: list[Result] = field(default_factory=list)
    interim: Result | None = None
    error: ProviderError | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def end(self, until: int) -> None:
        """Let it hear no more than ``until``."""
        self.until = until
        self.wake.set()

    def stop(self) -> None:
        """Hang up."""
        if self.task is not None:
            self.task.cancel()

    @property
    def under_way(self) -> asyncio.Task[None] | None:
        """The task that listens, unless it is over."""
        return self.task if self.task is not None and not self.task.done() else None

    def words(self, *, interim: bool) -> list[Word]:
        """Return what was recognised, with the words that may still change or without."""
        words = [word for result in self.results for word in result.words]
        if interim and self.interim is not None:
            words += self.interim.words
        return words


class StreamedRecognition:
    """One utterance. Holds its audio, at most ``MAX_AUDIO_S``; later audio is ignored."""

    def __init__(self, recognizer: StreamedRecognizer) -> None:
        self._recognizer = recognizer
        self._audio = bytearray()
        self._peak = 0
        self._settled: list[_Stream] = []
        """Streams that were ended since they had grown long."""
        self._begin = 0
        """Where the first stream after those begins."""
        self._stream: _Stream | None = None
        self._known: tuple[int, Transcript] | None = None
        self._open = True

    # --- RecognitionSession -------------------------------------------------------------------

    def feed(self, audio: Pcm16) -> None:
        """Add audio."""
        audio = audio[: max(0, int(MAX_AUDIO_S * LEARNER_RATE_HZ) - self._samples)]
        if not self._open or not len(audio):
            return
        self._audio += audio.astype("<i2").tobytes()
        self._peak = max(self._peak, int(np.abs(audio.astype(np.int32)).max()))
        if self._stream is not None:
            self._stream.wake.set()

    async def partial(self) -> str | None:
        """Return the words so far; None where none came yet, or the stream failed."""
        if self._is_silent:
            return None
        if self._running().error is not None:
            return None
        words = [word.text for each in self._streams for word in each.words(interim=True)]
        return " ".join(words) or None

    async def final(self) -> Transcript:
        """End the stream and return the transcript of everything fed so far."""
        samples = self._samples
        if self._known is not None and self._known[0] == samples:
            return self._known[1]
        if self._is_silent:
            return EMPTY_TRANSCRIPT
        before, stream = self._stream, self._running()
        stream.end(samples)
        try:
            async with asyncio.timeout(self._recognizer.part.first_timeout_s):
                await self._until_over()
                if stream is before and _was_lost(stream):
                    # While the learner spoke: nobody has waited for it yet.
                    self._start().end(samples)
                    await self._until_over()
        except TimeoutError:
            self._drop()
            name = self._recognizer.name
            raise ProviderTimeoutError(f"{name} took too long to transcribe") from None
        except asyncio.CancelledError:
            # The learner goes on; what was sent of a long utterance may still become words.
            if samples - self._begin <= _AGAIN:
                self._drop()
            raise
        for each in self._streams:
            if each.error is not None:
                raise each.error
        transcript = self._transcript(samples)
        self._known = (samples, transcript)
        return transcript

    def close(self) -> None:
        """Let the audio go, and every stream."""
        self._open = False
        for stream in self._streams:
            stream.stop()
        self._settled.clear()
        self._stream = None
        self._audio.clear()

    # --- streams --------------------------------------------------------------------------------

    @property
    def _samples(self) -> int:
        return len(self._audio) // 2

    @property
    def _is_silent(self) -> bool:
        return self._peak < _SILENT_PEAK

    @property
    def _streams(self) -> list[_Stream]:
        return [*self._settled, *([self._stream] if self._stream is not None else [])]

    def _running(self) -> _Stream:
        """Return a stream that hears, or has heard, all that was fed."""
        stream = self._stream
        if stream is None:
            return self._start()
        if stream.until is None or stream.until >= self._samples:
            return stream
        if stream.until - stream.begin > _AGAIN and stream.error is None:
            return self._go_on(stream)
        return self._start()

    def _go_on(self, stream: _Stream) -> _Stream:
        """Begin a stream where ``stream`` ends; it gets its words meanwhile."""
        self._settled.append(stream)
        self._stream = None
        self._begin = stream.begin if stream.until is None else stream.until
        return self._start()

    def _start(self) -> _Stream:
        self._drop()
        self._stream = stream = _Stream(self._begin, self._begin)
        stream.task = asyncio.create_task(self._listen(stream))
        return stream

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None

    async def _listen(self, stream: _Stream) -> None:
        recognizer = self._recognizer
        try:
            async with aclosing(recognizer.wire.recognize(self._sent_to(stream))) as results:
                async for result in results:
                    if result.final:
                        stream.results.append(result)
                    stream.interim = None if result.final else result
        except ProviderError as error:
            stream.error = error
            return
        if stream.until is None or stream.sent < stream.until or stream.interim is not None:
            stream.error = broke_off(recognizer.name)

    async def _sent_to(self, stream: _Stream) -> AsyncIterator[bytes]:
        longest = stream.begin + _LONGEST_STREAM
        while True:
            wanted = self._samples if stream.until is None else stream.until
            while stream.sent < min(wanted, longest):
                end = min(stream.sent + _MESSAGE, wanted, longest)
                piece = bytes(self._audio[2 * stream.sent : 2 * end])
                stream.sent = end
                yield piece
            if stream.sent >= longest and stream is self._stream:
                until = stream.until
                stream.until = longest
                following = self._go_on(stream)
                if until is not None:
                    following.end(until)
            if stream.until is not None and stream.sent >= stream.until:
                return
            stream.wake.clear()
            if stream.until is None and stream.sent >= self._samples:
                await stream.wake.wait()

    async def _until_over(self) -> None:
        """Wait until every stream has ended, those included that follow on a long one."""
        while waiting := {
            each.task for each in self._streams if each.task and not each.task.done()
        }:
            # Whoever stops waiting does not stop the streams.
            await asyncio.wait(waiting)

    # --- words ----------------------------------------------------------------------------------

    def _transcript(self, samples: int) -> Transcript:
        audio = pcm_from_bytes(bytes(self._audio[: 2 * samples]))
        words = [word for each in self._streams for word in _placed(each, audio)]
        return transcript_of(words, ms_of_samples(samples))


def _was_lost(stream: _Stream) -> bool:
    """Whether another stream may well do."""
    error = stream.error
    return error is not None and error.retryable and not isinstance(error, ProviderBusyError)


def _placed(stream: _Stream, audio: Pcm16) -> Sequence[Word]:
    """Return the stream's words on the utterance's time line; estimated where it gave no times."""
    offset_ms = ms_of_samples(stream.begin)
    words = stream.words(interim=False)
    if all(result.timed for result in stream.results):
        return [
            replace(word, start_ms=word.start_ms + offset_ms, end_ms=word.end_ms + offset_ms)
            for word in words
        ]
    texts = [(word.text, word.confidence) for word in words]
    return time_words(texts, audio[stream.begin : stream.until], offset_ms)
