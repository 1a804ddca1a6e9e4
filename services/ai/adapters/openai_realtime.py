"""OpenAI's Realtime interface: a speech-to-speech model over a WebSocket, by the official client.

The server's own turn taking is switched off. Each pause of the learner ends an item, which is
written down at once, so that at the end of the turn only the last words are awaited; the reply is
asked for after the last item. Of an interrupted reply the server keeps the sound that was heard
(``conversation.item.truncate``).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus, WebSocketException

from services.ai.adapters.http_failures import status_failure, unreachable, unreadable
from services.ai.adapters.openai_client import client_for, failures
from services.ai.adapters.speech import chosen, speech_model_capabilities
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    ProviderError,
    ProviderTimeoutError,
    Role,
)
from services.ai.engine_file import OpenAiRealtime
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
    WordsFailed,
)

# The only rate that the interface takes PCM at.
_RATE_HZ = 24_000
# The server refuses to make an item of less.
_SHORTEST_ITEM = _RATE_HZ // 10
# Replies of two sentences are a tenth of it; it bounds what a model that does not stop costs.
_MAX_OUTPUT_TOKENS = 2_000
_SPEEDS = (0.25, 1.5)
# What the server says where we cancelled or cut a reply that was over by then.
_HARMLESS = frozenset(
    {
        "response_cancel_not_active",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "input_audio_buffer_commit_empty",
    }
)
_EXPIRED = "session_expired"
# What the server's codes would be as statuses.
_STATUS_OF = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "internal_error": 500,
}


def speech_model(name: str, part: OpenAiRealtime, key: SecretStr | None) -> OpenAiRealtimeModel:
    """Return the model that ``part`` describes. Opens no connection yet."""
    return OpenAiRealtimeModel(name, part, key)


class OpenAiRealtimeModel:
    """Makes connections to one model."""

    def __init__(self, name: str, part: OpenAiRealtime, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._client = client_for(part, key)
        self._capabilities = speech_model_capabilities(name, part, _RATE_HZ, partials=False)

    @property
    def capabilities(self) -> SpeechModelCapabilities:
        """What the settings say of it."""
        return self._capabilities

    async def connect(self, briefing: Briefing) -> RealtimeLink:
        """Begin a conversation. Raises ``ProviderError``."""
        options: Any = {"open_timeout": self._part.connect_timeout_s, "close_timeout": 1}
        connecting = self._client.realtime.connect(
            model=self._part.model, websocket_connection_options=options
        )
        with _failures(self._name):
            connection = await connecting.enter()
        link = RealtimeLink(self._name, self._part, connection)
        try:
            async with asyncio.timeout(self._part.connect_timeout_s):
                await link.begin(self._session(briefing), briefing)
        except TimeoutError:
            await link.aclose()
            raise ProviderTimeoutError(f"{self._name} took too long to begin") from None
        except BaseException:
            await link.aclose()
            raise
        return link

    async def aclose(self) -> None:
        """Close what the client holds; connections are their sessions'."""
        await self._client.close()

    def _session(self, briefing: Briefing) -> dict[str, Any]:
        part = self._part
        pcm = {"type": "audio/pcm", "rate": _RATE_HZ}
        speed = min(max(briefing.speed, _SPEEDS[0]), _SPEEDS[1])
        voice = chosen(briefing.voice, self._capabilities.voices, self._name)
        written = {"model": part.transcription_model, "language": part.language}
        return {
            "type": "realtime",
            "instructions": briefing.instructions,
            "output_modalities": ["audio"],
            "max_output_tokens": _MAX_OUTPUT_TOKENS,
            "audio": {
                "input": {"format": pcm, "turn_detection": None, "transcription": written},
                "output": {"format": pcm, "voice": voice, "speed": speed},
            },
            **part.extra,
        }


@dataclass(slots=True)
class _Utterance:
    """The items of one utterance, in order, and the words of each once they are known."""

    words: dict[str, str | None] = field(default_factory=dict)
    commits: int = 0
    over: bool = False
    failed: bool = False

    @property
    def text(self) -> str:
        return " ".join(words for words in self.words.values() if words)

    @property
    def is_written(self) -> bool:
        return len(self.words) == self.commits and None not in self.words.values()


@dataclass(slots=True)
class _Reply:
    """What is known of the server's response to one of our generations."""

    generation: int
    response: str = ""
    item: str = ""
    samples: int = 0
    cut: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)


class RealtimeLink:
    """One conversation at the server. See ``SpeechLink``."""

    def __init__(
        self, name: str, part: OpenAiRealtime, connection: AsyncRealtimeConnection
    ) -> None:
        self._name = name
        self._part = part
        self._connection = connection
        self._resampler = _to_server_rate()
        self._in_buffer = 0
        self._utterance = _Utterance()
        self._committed: deque[_Utterance] = deque()
        self._written_down: dict[str, _Utterance] = {}
        self._replies: dict[int, _Reply] = {}
        self._latest: _Reply | None = None

    async def begin(self, session: dict[str, Any], briefing: Briefing) -> None:
        """Set the session up and tell it what was said before; wait until it has taken that."""
        with _failures(self._name):
            await self._send({"type": "session.update", "session": session})
            for message in briefing.said:
                ours = message.role is Role.ASSISTANT
                content = {"type": "output_text" if ours else "input_text", "text": message.text}
                item = {"type": "message", "role": message.role.value, "content": [content]}
                await self._send({"type": "conversation.item.create", "item": item})
            while True:
                event = await self._connection.recv()
                if _text(event, "type") == "error":
                    raise self._error(event)
                if _text(event, "type") == "session.updated":
                    return

    # --- SpeechLink ---------------------------------------------------------------------------

    async def hear(self, audio: Pcm16) -> None:
        """Send audio of the utterance."""
        await self._append(np.asarray(self._resampler.resample_chunk(audio), np.int16))

    async def pause(self) -> None:
        """End an item, which is written down now."""
        rest = self._resampler.resample_chunk(np.zeros(0, np.int16), last=True)
        self._resampler = _to_server_rate()
        await self._append(np.asarray(rest, np.int16))
        if self._in_buffer >= _SHORTEST_ITEM:
            self._in_buffer = 0
            self._utterance.commits += 1
            self._committed.append(self._utterance)
            await self._send({"type": "input_audio_buffer.commit"})

    async def reply(self, ask: Ask) -> None:
        """Have the model reply, once the reply before has stopped."""
        if ask.kind is AskKind.UTTERANCE:
            await self.pause()
            self._utterance.over = True
            self._utterance = _Utterance()
        elif ask.kind is AskKind.TEXT:
            content = [{"type": "input_text", "text": ask.text}]
            item = {"type": "message", "role": "user", "content": content}
            await self._send({"type": "conversation.item.create", "item": item})
        before = self._latest
        if before is not None and not before.over.is_set():
            await self._cancel(before)
            try:
                async with asyncio.timeout(self._part.next_timeout_s):
                    await before.over.wait()
            except TimeoutError:
                raise ProviderTimeoutError(f"{self._name} took too long to stop") from None
        self._latest = _Reply(ask.generation)
        self._replies[ask.generation] = self._latest
        wanted: dict[str, Any] = {"metadata": {"generation": str(ask.generation)}}
        if not ask.aloud:
            wanted["output_modalities"] = ["text"]
        if ask.kind is AskKind.LINE:
            wanted["instructions"] = f'Say exactly this and nothing else: "{ask.text}"'
        elif ask.kind is AskKind.PROMPT:
            content = [{"type": "input_text", "text": ask.text}]
            item = {"type": "message", "role": "system", "content": content}
            await self._send({"type": "conversation.item.create", "item": item})
        await self._send({"type": "response.create", "response": wanted})

    async def stop(self, generation: int, heard_ms: int) -> bool:
        """Cancel the reply where it goes on, and cut its item at what was heard."""
        reply = self._replies.get(generation)
        if reply is None:
            return False
        reply.cut = True
        await self._cancel(reply)
        if not reply.item:
            return True
        if heard_ms <= 0:
            await self._send({"type": "conversation.item.delete", "item_id": reply.item})
            return True
        # The server refuses to cut behind the end.
        end_ms = min(heard_ms, reply.samples * 1000 // _RATE_HZ)
        await self._send(
            {
                "type": "conversation.item.truncate",
                "item_id": reply.item,
                "content_index": 0,
                "audio_end_ms": end_ms,
            }
        )
        return True

    async def forget(self) -> bool:
        """Take the utterance's items out of the conversation, and its sound out of the buffer."""
        self._resampler = _to_server_rate()
        self._in_buffer = 0
        dropped, self._utterance = self._utterance, _Utterance()
        await self._send({"type": "input_audio_buffer.clear"})
        for item in dropped.words:
            await self._send({"type": "conversation.item.delete", "item_id": item})
        # An item without a name yet cannot be taken out.
        return len(dropped.words) == dropped.commits

    async def events(self) -> AsyncIterator[SpeechEvent]:
        """Yield what the server sends."""
        with _failures(self._name):
            async for event in self._connection:
                for told in self._read(event):
                    yield told
        raise unreachable(self._name)

    async def aclose(self) -> None:
        """Hang up."""
        try:
            await self._connection.close()
        except (WebSocketException, OSError):
            # It is gone, which is what was wanted.
            return

    # --- what comes -----------------------------------------------------------------------------

    def _read(self, event: object) -> list[SpeechEvent]:
        match _text(event, "type"):
            case "input_audio_buffer.committed":
                self._named(_text(event, "item_id"))
            case "conversation.item.input_audio_transcription.completed":
                return self._written(event, _text(event, "transcript"))
            case "conversation.item.input_audio_transcription.failed":
                return self._written(event, None)
            case "response.created":
                self._created(event)
            case "response.output_item.added":
                self._item_added(event)
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                reply = self._reply_of(event)
                return [TutorWords(_text(event, "delta"))] if reply else []
            case "response.output_audio.delta":
                return self._audio(event)
            case "response.done":
                return self._done(event)
            case "error":
                error = self._error(event)
                if _text(getattr(event, "error", None), "code") == _EXPIRED:
                    return [GoingAway()]
                if _text(getattr(event, "error", None), "code") not in _HARMLESS:
                    raise error
            case "":
                raise unreadable(self._name)
        return []

    def _named(self, item: str) -> None:
        if self._committed:
            utterance = self._committed.popleft()
            utterance.words[item] = None
            self._written_down[item] = utterance

    def _written(self, event: object, transcript: str | None) -> list[SpeechEvent]:
        item = _text(event, "item_id")
        utterance = self._written_down.pop(item, None)
        if utterance is None:
            return []
        utterance.words[item] = (transcript or "").strip()
        utterance.failed = utterance.failed or transcript is None
        settled = utterance.is_written and (utterance.over or not self._in_buffer)
        if settled and utterance.failed and not utterance.text:
            return [WordsFailed(f"{self._name} could not write down what was said")]
        return [LearnerWords(utterance.text, settled, utterance.over)]

    def _created(self, event: object) -> None:
        reply = self._latest
        response = getattr(event, "response", None)
        metadata = getattr(response, "metadata", None) or {}
        if reply is not None and metadata.get("generation") == str(reply.generation):
            reply.response = _text(response, "id")

    def _item_added(self, event: object) -> None:
        reply = self._latest
        if reply is not None and _text(event, "response_id") == reply.response:
            reply.item = _text(getattr(event, "item", None), "id")

    def _audio(self, event: object) -> list[SpeechEvent]:
        reply = self._reply_of(event)
        if reply is None:
            return []
        try:
            pcm = base64.b64decode(_text(event, "delta"), validate=True)
        except ValueError as error:
            raise unreadable(self._name) from error
        if len(pcm) % 2:
            raise unreadable(self._name)
        reply.samples += len(pcm) // 2
        return [TutorAudio(pcm)] if pcm else []

    def _done(self, event: object) -> list[SpeechEvent]:
        response = getattr(event, "response", None)
        reply = self._latest
        if reply is None or _text(response, "id") != reply.response:
            return []
        reply.over.set()
        if reply.cut:
            return []
        status = _text(response, "status")
        details = getattr(response, "status_details", None)
        if status == "failed":
            error = getattr(details, "error", None)
            code = _text(error, "code") or _text(error, "type")
            raise status_failure(self._name, _STATUS_OF.get(code, 500), code, {})
        if status == "incomplete" and _text(details, "reason") == "content_filter":
            if not reply.samples:
                raise ProviderError(
                    f"{self._name} declines to answer", retryable=False, elsewhere=True
                )
        elif status == "cancelled":
            raise ProviderError(f"{self._name} broke off in the middle", retryable=True)
        usage = getattr(response, "usage", None)
        return [ReplyDone(_number(usage, "output_tokens"), _number(usage, "input_tokens"))]

    # --- inside -----------------------------------------------------------------------------------

    def _reply_of(self, event: object) -> _Reply | None:
        """Return the reply that the event is of, unless it is none that anybody wants."""
        reply = self._latest
        if reply is None or reply.cut or _text(event, "response_id") != reply.response:
            return None
        return reply

    async def _append(self, audio: Pcm16) -> None:
        if len(audio):
            self._in_buffer += len(audio)
            data = base64.b64encode(audio.astype("<i2").tobytes()).decode()
            await self._send({"type": "input_audio_buffer.append", "audio": data})

    async def _cancel(self, reply: _Reply) -> None:
        if reply is self._latest and not reply.over.is_set():
            cancel = {"type": "response.cancel"}
            await self._send(cancel | ({"response_id": reply.response} if reply.response else {}))

    async def _send(self, event: dict[str, Any]) -> None:
        sent: Any = event
        with _failures(self._name):
            await self._connection.send(sent)

    def _error(self, event: object) -> ProviderError:
        error = getattr(event, "error", None)
        code = _text(error, "code") or _text(error, "type")
        return status_failure(self._name, _STATUS_OF.get(code, 400), code, {})


def _to_server_rate() -> soxr.ResampleStream:
    return soxr.ResampleStream(LEARNER_RATE_HZ, _RATE_HZ, 1, dtype="int16", quality="HQ")


def _text(event: object, name: str) -> str:
    """Return a field that should be text; the client builds its events without checking them."""
    value = getattr(event, name, None)
    return value if isinstance(value, str) else ""


def _number(event: object, name: str) -> int:
    """Return a field that should be a number, 0 where it is none: see ``_text``."""
    value = getattr(event, name, None)
    return value if isinstance(value, int) else 0


@contextmanager
def _failures(who: str) -> Iterator[None]:
    """Tell of what the client and its WebSocket raise as ``ProviderError``."""
    try:
        with failures(who):
            yield
    except InvalidStatus as error:
        response = error.response
        code = _code_in(bytes(response.body or b""))
        raise status_failure(who, response.status_code, code, response.headers) from error
    except TimeoutError as error:
        raise ProviderTimeoutError(f"{who} took too long to connect") from error
    except (WebSocketException, OSError) as error:
        raise unreachable(who) from error


def _code_in(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        code = error.get("code") or error.get("type")
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    return code if isinstance(code, str) else ""
