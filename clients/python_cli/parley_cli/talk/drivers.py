"""What makes a talk go on without a microphone: recordings in a row, or lines that are typed."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

from parley_cli.audio.files import Recording
from parley_cli.session import Floor, Typed
from parley_cli.talk.conversation import Talk
from parley_cli.talk.events import Unanswered, UtteranceBegan, UtteranceSent
from parley_cli.talk.options import CAPTURE_RATE_HZ
from parley_cli.talk.script import RecordingScript, Spoken, answered

# How long a conversation's opening line may take, first model call included.
_OPENING_WITHIN_S = 30.0


class RecordingsDriver:
    """Speaks recordings one after the other, each after the answer to the one before.

    Args:
        script: what the virtual card hears.
        recordings: what the script speaks.
    """

    def __init__(self, script: RecordingScript, recordings: list[Recording]) -> None:
        self._script = script
        self._recordings = recordings

    async def __call__(self, talk: Talk) -> None:
        """Speak them all."""
        if talk.options.tutor_opens:
            await talk.wait_until(lambda: _opened(talk), _OPENING_WITHIN_S)
        while talk.view.floor is not Floor.ENDED:
            known = frozenset(turn.generation for turn in talk.view.turns if turn.generation)
            spoken = self._script.speak_next()
            if spoken is None:
                return
            file = str(self._recordings[spoken.index].path)
            if spoken.speech_end is not None:
                talk.meter.speech_ends_at(spoken.speech_end)
            talk.emit(UtteranceBegan(spoken.index, file, _ms(spoken.start)))
            await self._until_sent(talk, spoken)
            if talk.options.push_to_talk:
                await talk.stream.end_turn()
            speech_end_ms = None if spoken.speech_end is None else _ms(spoken.speech_end)
            talk.emit(UtteranceSent(spoken.index, file, _ms(spoken.end), speech_end_ms))
            await self._until_answered(talk, spoken, known, file)

    async def _until_sent(self, talk: Talk, spoken: Spoken) -> None:
        while self._script.position < spoken.end:
            left_s = (spoken.end - self._script.position) / CAPTURE_RATE_HZ
            await asyncio.sleep(min(left_s, talk.options.frame_ms / 1000))

    async def _until_answered(
        self, talk: Talk, spoken: Spoken, known: frozenset[int], file: str
    ) -> None:
        timeout_s = talk.options.answer_timeout_s
        waiting = lambda: _done(talk, known)  # noqa: E731
        # The clock starts anew with every reply, a hint too: a long reply is no missing one.
        while not await talk.wait_until(waiting, timeout_s):
            if _replying(talk, known):
                continue
            if not _was_answered(talk, known):
                talk.result.unanswered.append(file)
                talk.emit(Unanswered(spoken.index, file, timeout_s))
            return


class TypingDriver:
    """Sends lines as they are typed, each after the answer to the one before.

    Args:
        read_line: blocks for the next line; None or an empty string for the end.
    """

    def __init__(self, read_line: Callable[[], str] | None = None) -> None:
        self._read_line = read_line or _read_line

    async def __call__(self, talk: Talk) -> None:
        """Send lines until there are no more."""
        if talk.options.tutor_opens:
            await talk.wait_until(lambda: _opened(talk), _OPENING_WITHIN_S)
        index = 0
        while talk.view.floor is not Floor.ENDED:
            line = await self._next_line()
            if line is None:
                return
            text = line.strip()
            if not text:
                continue
            known = frozenset(turn.generation for turn in talk.view.turns if turn.generation)
            talk.meter.typed(talk.now())
            talk.emit(Typed(text))
            await talk.stream.send_text(text)
            waiting = lambda known=known: _done(talk, known)  # noqa: E731
            timeout_s = talk.options.answer_timeout_s
            while not await talk.wait_until(waiting, timeout_s):
                if not _replying(talk, known):
                    talk.result.unanswered.append(text)
                    talk.emit(Unanswered(index, "", timeout_s))
                    break
            index += 1

    async def _next_line(self) -> str | None:
        """Read a line without stopping the loop.

        A daemon thread, not an executor: a read from a terminal cannot be cancelled, and the
        program must be able to end in the middle of one.
        """
        loop = asyncio.get_running_loop()
        line: asyncio.Future[str | None] = loop.create_future()

        def deliver(value: str | None) -> None:
            if not line.done():
                line.set_result(value)

        def read() -> None:
            try:
                value = self._read_line()
            except (EOFError, ValueError, OSError):
                value = ""
            if not loop.is_closed():
                loop.call_soon_threadsafe(deliver, value or None)

        threading.Thread(target=read, daemon=True, name="parley-typing").start()
        return await line


def _done(talk: Talk, known: frozenset[int]) -> bool:
    return talk.view.floor is Floor.ENDED or answered(talk.view, known, drained=talk.drained)


def _replying(talk: Talk, known: frozenset[int]) -> bool:
    return talk.view.floor is Floor.TUTOR and any(
        turn.generation and turn.generation not in known and not turn.end
        for turn in talk.view.turns
    )


def _was_answered(talk: Talk, known: frozenset[int]) -> bool:
    """Whether any answer was said: an utterance that then trailed off counts as answered.

    A hint is none. The tutor gives it because it heard nothing, so the utterance is not answered.
    """
    return any(
        turn.generation and turn.generation not in known and turn.heard_text
        for turn in talk.view.turns
        if turn.kind != "hint"
    )


def _opened(talk: Talk) -> bool:
    return any(turn.end for turn in talk.view.turns) and talk.drained


def _ms(samples: int) -> float:
    return samples * 1000 / CAPTURE_RATE_HZ


def _read_line() -> str:
    return sys.stdin.readline()
