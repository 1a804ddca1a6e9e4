"""A session's line to a speech-to-speech model, whatever becomes of its connections.

What the learner says goes out as steps, and a step stays in the list until the reply that it led
to has begun and ended, or was stopped. So a connection that is lost before that is replaced, by the
same provider or by the next of the chain, and the new one hears the steps again: audio included.
A connection is also replaced where it cannot be told to forget, and before its time is over; then
only between turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TypeAlias

import numpy as np
import structlog

from services.ai.audio import samples_of_ms
from services.ai.capabilities import (
    Pcm16,
    ProviderBusyError,
    ProviderError,
    ProviderTimeoutError,
)
from services.ai.fallback import Capability, Named, Switch
from services.ai.speech_model import (
    Ask,
    Briefing,
    GoingAway,
    LearnerWords,
    ReplyDone,
    SpeechEvent,
    SpeechLink,
    SpeechModel,
    TutorAudio,
    TutorWords,
    WordsFailed,
)
from services.ai.streams import closable

_log = structlog.get_logger(__name__)

# A connection is used for this share of its time, so that there is a quiet moment before its end.
_USED_SHARE = 0.9
# Sound that piled up while a connection was made goes in messages of this many samples.
_MESSAGE = samples_of_ms(200)


@dataclass(frozen=True, slots=True)
class _Hear:
    audio: Pcm16


@dataclass(frozen=True, slots=True)
class _Pause:
    pass


@dataclass(frozen=True, slots=True)
class _Stop:
    generation: int
    heard_ms: int


@dataclass(frozen=True, slots=True)
class _Forget:
    pass


_Step: TypeAlias = _Hear | _Pause | Ask


@dataclass(slots=True)
class _Connection:
    """One connection, who made it, and when it should be replaced."""

    link: SpeechLink
    model: Named[SpeechModel]
    reader: asyncio.Task[None]
    switches: tuple[Switch, ...]
    old_at: float
    answered: bool = False


class SpeechLine:
    """What to send, to whom, and what came back.

    Full-policy: the steps hold one utterance, whose length turn taking bounds, and those said over
    the reply to it.

    Args:
        models: the chain, first choice first.
        briefing: returns what a new connection is told; it holds no turn whose steps are kept.
        on_event: gets what comes of the utterance under way and of the reply last asked for.
        on_failure: gets the error once nobody can give the reply that was asked for.
    """

    def __init__(
        self,
        models: Sequence[Named[SpeechModel]],
        briefing: Callable[[], Briefing],
        on_event: Callable[[SpeechEvent], None],
        on_failure: Callable[[ProviderError], None],
    ) -> None:
        self._models = tuple(models)
        self._briefing = briefing
        self._on_event = on_event
        self._on_failure = on_failure
        self._steps: list[_Step] = []
        self._sent = 0
        self._controls: deque[_Stop | _Forget] = deque()
        self._connection: _Connection | None = None
        self._lost: ProviderError | None = None
        self._replace = False
        self._misinformed = False
        self._reply: int | None = None
        self._begun = False
        self._tried: set[str] = set()
        self._second_chance = False
        self._skipped: list[Switch] = []
        self._deadline: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    # --- what the session says; none of it waits -----------------------------------------------

    def hear(self, audio: Pcm16) -> None:
        """Send audio of the utterance."""
        if not self._steps:
            # Whoever failed before is asked once an utterance, and not at each piece of it.
            self._tried.clear()
        self._add(_Hear(audio))

    def pause(self) -> None:
        """Ask for the words so far."""
        self._add(_Pause())

    def ask(self, ask: Ask) -> None:
        """Ask for a reply."""
        # Somebody waits now: whoever failed at something smaller gets another chance.
        self._tried.clear()
        self._second_chance = True
        self._add(ask)

    def forget(self) -> None:
        """Forget the utterance under way."""
        begin = self._after_last_ask()
        heard = self._sent > begin
        del self._steps[begin:]
        self._sent = min(self._sent, begin)
        if heard and self._connection is not None:
            self._controls.append(_Forget())
        self._wake.set()

    def stop(self, generation: int, heard_ms: int) -> None:
        """End the reply ``generation``; of it, ``heard_ms`` of audio were heard."""
        if self._reply == generation:
            self._over()
        unsent = any(isinstance(s, Ask) and s.generation == generation for s in self._unsent)
        if unsent:
            # The model may have heard some of the question. The next connection is told of it.
            self._replace = self._replace or self._sent > 0
        elif self._connection is not None:
            self._controls.append(_Stop(generation, heard_ms))
        else:
            # A connection that is being made was told of it as if all of it had been heard.
            self._misinformed = True
        self._trim(generation)
        self._wake.set()

    def renew(self) -> None:
        """Begin a new connection at the next quiet moment: the briefing has changed."""
        self._replace = True
        self._wake.set()

    @property
    def serving(self) -> str:
        """Who serves now, or would."""
        return (self._connection.model if self._connection else self._models[0]).name

    @property
    def switches(self) -> tuple[Switch, ...]:
        """Why it is not somebody before them in the chain."""
        return self._connection.switches if self._connection else ()

    # --- the work -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled; hangs up at the end."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                # The first connection is made while the learner still listens or thinks.
                self._wake.set()
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    try:
                        await self._work()
                    except ProviderError as error:
                        await self._fail(error)
        finally:
            self._stop_watching()
            await self._hang_up()

    async def _work(self) -> None:
        if self._lost is not None:
            lost, self._lost = self._lost, None
            raise lost
        if self._connection is not None:
            if asyncio.get_running_loop().time() > self._connection.old_at:
                self._replace = True
            if self._replace and self._is_quiet:
                await self._hang_up()
        elif len(self._tried) == len(self._models):
            return
        connection = self._connection or await self._connect()
        of_no_use = self._misinformed
        while self._controls:
            control = self._controls.popleft()
            if isinstance(control, _Forget):
                forgotten = await connection.link.forget()
            else:
                forgotten = await connection.link.stop(control.generation, control.heard_ms)
            of_no_use = of_no_use or not forgotten
        if of_no_use:
            self._replace = True
            if self._reply is None:
                await self._hang_up()
                self._wake.set()
                return
        while self._sent < len(self._steps) and not self._controls and self._lost is None:
            step, count = self._next_step()
            self._sent += count
            await self._do(connection, step)

    async def _do(self, connection: _Connection, step: _Step) -> None:
        match step:
            case _Hear(audio):
                await connection.link.hear(audio)
            case _Pause():
                await connection.link.pause()
            case Ask():
                self._reply = step.generation
                self._begun = False
                self._watch(connection, connection.model.provider.capabilities.first_s, "begin")
                await connection.link.reply(step)

    async def _connect(self) -> _Connection:
        model = self._choose()
        capabilities = model.provider.capabilities
        self._replace = self._misinformed = False
        self._controls.clear()
        self._sent = 0
        try:
            link = await model.provider.connect(self._briefing())
        except ProviderError as error:
            self._note_failure(model, error)
            raise
        old_at = asyncio.get_running_loop().time() + _USED_SHARE * capabilities.session_s
        if self._tasks is None:
            raise RuntimeError("the line is not running")
        reader = self._tasks.create_task(self._read(link))
        self._connection = connection = _Connection(
            link, model, reader, tuple(self._skipped), old_at
        )
        return connection

    def _choose(self) -> Named[SpeechModel]:
        """Return the first of the chain that has not failed at this and is not left alone."""
        self._skipped = [each for each in self._skipped if each.failed in self._tried]
        left = [each for each in self._models if each.name not in self._tried]
        for model, following in pairwise(left):
            if model.circuit.admits():
                return model
            self._skip(model, following, f"left alone for now, since {model.circuit.why}")
        return left[-1]

    def _skip(self, model: Named[SpeechModel], following: Named[SpeechModel], why: str) -> None:
        self._skipped.append(Switch(Capability.LANGUAGE_MODEL, model.name, following.name, why))

    # --- what comes back ----------------------------------------------------------------------

    async def _read(self, link: SpeechLink) -> None:
        lost = ProviderError(f"{self.serving} hung up", retryable=True)
        async with aclosing(closable(link.events())) as events:
            while True:
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    break
                except ProviderError as error:
                    lost = error
                    break
                self._take(event)
        if self._connection is not None and self._connection.link is link:
            self._lost = lost
            self._wake.set()

    def _take(self, event: SpeechEvent) -> None:
        match event:
            case GoingAway():
                self.renew()
            case LearnerWords() | WordsFailed():
                self._on_event(event)
            case TutorWords() | TutorAudio():
                if self._reply is not None:
                    self._begin_reply()
                    self._on_event(event)
            case ReplyDone():
                if self._reply is not None:
                    self._begin_reply()
                    self._trim(self._reply)
                    self._over()
                    self._on_event(event)
                    # Now is a quiet moment, if there is one.
                    self._wake.set()

    def _begin_reply(self) -> None:
        self._begun = True
        connection = self._connection
        if connection is not None:
            connection.answered = True
            connection.model.circuit.succeeded()
            self._watch(connection, connection.model.provider.capabilities.next_s, "go on")

    def _over(self) -> None:
        self._reply = None
        self._begun = False
        self._stop_watching()

    # --- what goes wrong ------------------------------------------------------------------------

    async def _fail(self, error: ProviderError) -> None:
        """Take the next provider, or the same once more; give the reply up where there is none."""
        connection = self._connection
        if connection is not None:
            await self._hang_up()
            if self._may_only_be_cut(connection, error):
                self._second_chance = False
            else:
                self._note_failure(connection.model, error)
        if not self._begun and error.elsewhere and len(self._tried) < len(self._models):
            self._over()
            if self._steps:
                self._wake.set()
            return
        asked = [step.generation for step in self._steps if isinstance(step, Ask)]
        if asked:
            self._trim(asked[-1])
            self._over()
            self._on_failure(error)
        # Else nobody waits for anything yet, and the next question tries again.

    def _may_only_be_cut(self, connection: _Connection, error: ProviderError) -> bool:
        """Whether a new connection to the same provider may well do: it has answered on this."""
        return (
            self._second_chance
            and connection.answered
            and error.retryable
            and not self._begun
            and not isinstance(error, ProviderTimeoutError | ProviderBusyError)
        )

    def _note_failure(self, model: Named[SpeechModel], error: ProviderError) -> None:
        alone_s = model.circuit.failed(error)
        self._tried.add(model.name)
        _log.warning(
            "provider_failed",
            capability="speech_model",
            provider=model.name,
            kind=type(error).__name__,
            alone_s=alone_s,
        )
        following = [each for each in self._models if each.name not in self._tried]
        if following:
            self._skip(model, following[0], str(error))

    def _watch(self, connection: _Connection, limit_s: float, late: str) -> None:
        """Give the connection up where its reply does not come in time."""
        self._stop_watching()

        def too_late() -> None:
            if self._connection is connection:
                self._lost = ProviderTimeoutError(
                    f"{connection.model.name} took too long to {late}"
                )
                self._wake.set()

        self._deadline = asyncio.get_running_loop().call_later(limit_s, too_late)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # --- steps ----------------------------------------------------------------------------------

    @property
    def _is_quiet(self) -> bool:
        return self._reply is None and not self._sent

    @property
    def _unsent(self) -> list[_Step]:
        return self._steps[self._sent :]

    def _next_step(self) -> tuple[_Step, int]:
        """Return the next step, and how many it is: sound that piled up is sent together."""
        first = self._steps[self._sent]
        if not isinstance(first, _Hear):
            return first, 1
        pieces: list[Pcm16] = []
        for step in islice(self._steps, self._sent, None):
            if not isinstance(step, _Hear) or sum(map(len, pieces)) >= _MESSAGE:
                break
            pieces.append(step.audio)
        return _Hear(pieces[0] if len(pieces) == 1 else np.concatenate(pieces)), len(pieces)

    def _add(self, step: _Step) -> None:
        self._steps.append(step)
        self._wake.set()

    def _after_last_ask(self) -> int:
        asks = [index for index, step in enumerate(self._steps) if isinstance(step, Ask)]
        return asks[-1] + 1 if asks else 0

    def _trim(self, generation: int) -> None:
        """Forget the steps up to the question whose reply is ``generation``: memory has them."""
        for index, step in enumerate(self._steps):
            if isinstance(step, Ask) and step.generation <= generation:
                del self._steps[: index + 1]
                self._sent = max(0, self._sent - index - 1)
                self._trim(generation)
                return

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        self._sent = 0
        self._lost = None
        self._controls.clear()
        if connection is None:
            return
        connection.reader.cancel()
        await asyncio.gather(connection.reader, return_exceptions=True)
        await connection.link.aclose()
