"""Gemini Live: a speech-to-speech model over a WebSocket, by Google's official client.

The server's own turn taking is switched off: an utterance stands between the marks of an activity,
and the model answers at its end. The server cannot be told what was heard of a reply, or to forget
an utterance; a new connection is told instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from google import genai
from google.genai import errors, live, types
from pydantic import SecretStr, ValidationError
from websockets.exceptions import InvalidStatus, WebSocketException

from services.ai.adapters.http_failures import (
    keep_quiet,
    status_failure,
    unreachable,
    unreadable,
)
from services.ai.adapters.speech import chosen, speech_model_capabilities
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
    Role,
)
from services.ai.engine_file import GeminiLive
from services.ai.speech_model import (
    Ask,
    AskKind,
    Briefing,
    GoingAway,
    LearnerWords,
    ReplyDone,
    SpeechEvent,
    SpeechModelCapabilities,
    TutorAudio,
    TutorWords,
)

_RATE_HZ = 24_000
_MICROPHONE = f"audio/pcm;rate={LEARNER_RATE_HZ}"
_OWN_ADDRESS = "https://generativelanguage.googleapis.com"
_NO_KEY = "none"
# How long the server may take to say goodbye. Nobody is asked in its place meanwhile.
_HANG_UP_S = 1.0
# Words of both sides come apart from the sound, and nothing says which are the last: this long
# after a reply began no more of the utterance's are waited for, and this long after its end none
# of its own.
_LAST_WORDS_S = 0.3
# What the server closes a connection with (RFC 6455, 7.4.1): it tells its refusals so.
_INVALID = 1007
_POLICY = 1008
_INTERNAL = 1011

keep_quiet("google_genai")


def speech_model(name: str, part: GeminiLive, key: SecretStr | None) -> GeminiLiveModel:
    """Return the model that ``part`` describes. Opens no connection yet."""
    return GeminiLiveModel(name, part, key)


class GeminiLiveModel:
    """Makes connections to one model."""

    def __init__(self, name: str, part: GeminiLive, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        # What its WebSockets are opened with comes as arguments of its HTTP clients, which know
        # none of them: so those are given, though nothing is asked over them.
        self._http = httpx2.Client(), httpx2.AsyncClient()
        # Every address and key is given, so that nothing of the environment sends it elsewhere.
        self._client = genai.Client(
            vertexai=False,
            api_key=key.get_secret_value() if key else _NO_KEY,
            http_options=types.HttpOptions(
                base_url=part.base_url or _OWN_ADDRESS,
                api_version="v1beta",
                async_client_args={"close_timeout": _HANG_UP_S},
                httpx_client=self._http[0],
                httpx_async_client=self._http[1],
            ),
        )
        self._capabilities = speech_model_capabilities(name, part, _RATE_HZ, partials=True)

    @property
    def capabilities(self) -> SpeechModelCapabilities:
        """What the settings say of it."""
        return self._capabilities

    async def connect(self, briefing: Briefing) -> GeminiLink:
        """Begin a conversation. Raises ``ProviderError``."""
        closing = AsyncExitStack()
        try:
            with _failures(self._name):
                async with asyncio.timeout(self._part.connect_timeout_s):
                    session = await closing.enter_async_context(
                        self._client.aio.live.connect(
                            model=self._part.model, config=self._config(briefing)
                        )
                    )
                    if briefing.said:
                        turns: Any = [_content(each.role, each.text) for each in briefing.said]
                        await session.send_client_content(turns=turns, turn_complete=True)
        except BaseException:
            await _close(closing)
            raise
        if session.setup_complete is None:
            await _close(closing)
            raise unreadable(self._name)
        return GeminiLink(self._name, session, closing)

    async def aclose(self) -> None:
        """Close what the client holds; connections are their sessions'."""
        await self._client.aio.aclose()
        self._http[0].close()
        await self._http[1].aclose()

    def _config(self, briefing: Briefing) -> types.LiveConnectConfig:
        voice = chosen(briefing.voice, self._capabilities.voices, self._name)
        settings: dict[str, Any] = {
            "response_modalities": ["AUDIO"],
            "system_instruction": briefing.instructions,
            "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": voice}}},
            "input_audio_transcription": {},
            "output_audio_transcription": {},
            "realtime_input_config": {
                "automatic_activity_detection": {"disabled": True},
                "activity_handling": "NO_INTERRUPTION",
                "turn_coverage": "TURN_INCLUDES_ONLY_ACTIVITY",
            },
        }
        if briefing.said:
            settings["history_config"] = {"initial_history_in_client_content": True}
        return types.LiveConnectConfig.model_validate({**settings, **self._part.extra})


@dataclass(slots=True)
class _Reply:
    generation: int
    samples: int = 0
    begun: bool = False
    generated: bool = False
    over: bool = False
    tokens: int = 0
    tokens_read: int = 0


@dataclass(slots=True)
class _Words:
    """The learner's words of one utterance."""

    text: str = ""
    over: bool = False
    settled: bool = False


@dataclass(slots=True)
class _Timer:
    """When to stop waiting; None: not waiting."""

    at: float | None = None

    def start(self) -> None:
        self.at = asyncio.get_running_loop().time() + _LAST_WORDS_S

    @property
    def left_s(self) -> float | None:
        return None if self.at is None else max(0.0, self.at - asyncio.get_running_loop().time())


@dataclass(slots=True)
class GeminiLink:
    """One conversation at the server. See ``SpeechLink``."""

    _name: str
    _session: live.AsyncSession
    _closing: AsyncExitStack
    _active: bool = False
    _words: list[_Words] = field(default_factory=lambda: [_Words()])
    _reply: _Reply | None = None
    _last_words: _Timer = field(default_factory=_Timer)

    # --- SpeechLink ---------------------------------------------------------------------------

    async def hear(self, audio: Pcm16) -> None:
        """Send audio of the utterance."""
        if not self._active:
            self._active = True
            self._begin_words()
            await self._send(activity_start=types.ActivityStart())
        data = audio.astype("<i2").tobytes()
        await self._send(audio=types.Blob(data=data, mime_type=_MICROPHONE))

    async def pause(self) -> None:
        """Do nothing: words come while they are said."""

    async def reply(self, ask: Ask) -> None:
        """End the activity, at which the model answers."""
        if not self._active:
            self._begin_words()
        self._words[-1].over = True
        self._reply = _Reply(ask.generation)
        self._last_words = _Timer()
        if ask.kind is not AskKind.UTTERANCE:
            text = ask.text
            if ask.kind is AskKind.LINE:
                text = f'Say exactly this and nothing else: "{text}"'
            if not self._active:
                await self._send(activity_start=types.ActivityStart())
            await self._send(text=text)
        self._active = False
        await self._send(activity_end=types.ActivityEnd())

    async def stop(self, generation: int, heard_ms: int) -> bool:
        """Return whether all of the reply was heard: only then has the server the right memory."""
        reply = self._reply
        if reply is None or reply.generation != generation:
            return False
        return reply.over and heard_ms >= reply.samples * 1000 // _RATE_HZ

    async def forget(self) -> bool:
        """Return whether the server has heard nothing of the utterance."""
        return not self._active

    async def events(self) -> AsyncIterator[SpeechEvent]:
        """Yield what the server sends."""
        while True:
            messages = self._session.receive()
            pending = asyncio.ensure_future(anext(messages, None))
            try:
                while True:
                    await asyncio.wait({pending}, timeout=self._last_words.left_s)
                    if not pending.done():
                        for event in self._no_more_words():
                            yield event
                        continue
                    with _failures(self._name):
                        message = pending.result()
                        told = [] if message is None else list(self._read(message))
                    for event in told:
                        yield event
                    if message is None:
                        # The client ends the iterator with each turn of the model's.
                        break
                    pending = asyncio.ensure_future(anext(messages, None))
            finally:
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)

    async def aclose(self) -> None:
        """Hang up."""
        await _close(self._closing)

    # --- what comes -----------------------------------------------------------------------------

    def _read(self, message: types.LiveServerMessage) -> Iterator[SpeechEvent]:
        if message.go_away is not None:
            yield GoingAway()
        reply = self._reply
        usage = message.usage_metadata
        if reply is not None and usage is not None:
            reply.tokens = usage.response_token_count or reply.tokens
            reply.tokens_read = usage.prompt_token_count or reply.tokens_read
        content = message.server_content
        if content is None:
            return
        if content.input_transcription is not None:
            yield from self._heard(content.input_transcription)
        if reply is None or reply.over:
            return
        if content.output_transcription is not None and content.output_transcription.text:
            yield TutorWords(content.output_transcription.text)
        for pcm in self._sound(content.model_turn):
            reply.samples += len(pcm) // 2
            if not reply.begun:
                reply.begun = True
                self._last_words.start()
            yield TutorAudio(pcm)
        if content.generation_complete and not reply.generated:
            # The end of the turn may come only when the server thinks that all of it was played.
            reply.generated = True
            self._last_words.start()
        if content.turn_complete or content.interrupted:
            yield from self._complete(reply)

    def _begin_words(self) -> None:
        """Begin an utterance; the words of the one before may still be on their way."""
        unsettled = [words for words in self._words[-1:] if words.over and not words.settled]
        self._words = [*unsettled, _Words()]

    def _heard(self, transcription: types.Transcription) -> Iterator[SpeechEvent]:
        words = next((each for each in self._words if not each.settled), None)
        if words is None:
            return
        words.text += transcription.text or ""
        if words.over and transcription.finished:
            words.settled = True
        elif words.over and self._reply is not None and self._reply.begun:
            self._last_words.start()
        yield LearnerWords(words.text.strip(), words.settled, words.over)

    def _no_more_words(self) -> Iterator[SpeechEvent]:
        """Nothing came for a while after the reply began, or after it was complete."""
        self._last_words = _Timer()
        reply = self._reply
        if reply is None:
            return
        if reply.generated:
            yield from self._complete(reply)
        elif self._words[0].text:
            yield from self._settle()

    def _settle(self) -> Iterator[SpeechEvent]:
        for words in self._words:
            if words.over and not words.settled:
                words.settled = True
                yield LearnerWords(words.text.strip(), settled=True, over=True)

    def _complete(self, reply: _Reply) -> Iterator[SpeechEvent]:
        self._last_words = _Timer()
        if reply.over:
            return
        reply.over = True
        yield from self._settle()
        yield ReplyDone(reply.tokens, reply.tokens_read)

    def _sound(self, turn: types.Content | None) -> Iterator[bytes]:
        for part in (turn.parts or ()) if turn is not None else ():
            data = part.inline_data
            if part.thought or data is None or not data.data:
                continue
            kind = (data.mime_type or "").replace(" ", "")
            wrong_rate = "rate=" in kind and f"rate={_RATE_HZ}" not in kind
            if not kind.startswith("audio/pcm") or wrong_rate or len(data.data) % 2:
                raise unreadable(self._name)
            yield data.data

    async def _send(self, **what: Any) -> None:
        with _failures(self._name):
            await self._session.send_realtime_input(**what)


def _content(role: Role, text: str) -> types.Content:
    who = "model" if role is Role.ASSISTANT else "user"
    return types.Content(role=who, parts=[types.Part(text=text)])


async def _close(closing: AsyncExitStack) -> None:
    try:
        await closing.aclose()
    except (WebSocketException, OSError, errors.APIError):
        # It is gone, which is what was wanted.
        return


@contextmanager
def _failures(who: str) -> Iterator[None]:
    """Tell of what the client and its WebSocket raise as ``ProviderError``."""
    try:
        yield
    except errors.APIError as error:
        raise _closed(who, error) from error
    except InvalidStatus as error:
        response = error.response
        raise status_failure(who, response.status_code, "", response.headers) from error
    except TimeoutError as error:
        raise ProviderTimeoutError(f"{who} took too long to connect") from error
    except (WebSocketException, OSError) as error:
        raise unreachable(who) from error
    except (ValidationError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise unreadable(who) from error


def _closed(who: str, error: errors.APIError) -> ProviderError:
    """Return what the server's closing means; its sentence is looked at and not passed on."""
    told = str(error.details).lower()
    if "quota" in told or "exhausted" in told:
        return ProviderBusyError(f"{who} takes no more requests now ({error.code})")
    if "api key" in told or "api_key" in told or "credential" in told:
        return ProviderRefusedError(f"{who} does not accept the API key ({error.code})")
    if error.code == _POLICY:
        return ProviderRefusedError(f"{who} does not know the model or the address ({error.code})")
    if error.code == _INVALID:
        return ProviderError(
            f"{who} refuses the request ({error.code})", retryable=False, elsewhere=True
        )
    if error.code == _INTERNAL:
        return ProviderError(f"{who} failed ({error.code})", retryable=True)
    return unreachable(who)
