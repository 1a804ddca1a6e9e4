"""The services around the conversation service, small and scripted, in this process."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from parley.ai.v1 import ai_pb2, ai_pb2_grpc
from parley.history.v1 import history_pb2, history_pb2_grpc
from parley.media.v1 import media_pb2, media_pb2_grpc
from parley.types.v1 import audio_pb2, feedback_pb2, speech_pb2, turn_pb2
from parley.user.v1 import user_pb2, user_pb2_grpc
from services.common.errors import ParleyError, ResourceExhausted
from services.common.status import DETAILS_KEY, grpc_code, to_status

RATE_HZ = 24_000
WORD_MS = 300


async def refuse(context: Any, error: ParleyError) -> None:
    """End a call as a Parley service does."""
    details = to_status(error).SerializeToString()
    await context.abort(grpc_code(error.code), error.message, ((DETAILS_KEY, details),))


class EngineSession:
    """One live engine session, moved by the test."""

    def __init__(self, start: ai_pb2.StartEngine, context: Any, answer: str) -> None:
        self.start = start
        self.answer = answer
        self.received: list[ai_pb2.ConverseRequest] = []
        self.audio = bytearray()
        self.generation = start.last_generation
        self.turn = start.next_turn
        self.audio_came = asyncio.Event()
        self.came = asyncio.Event()
        self.kill = asyncio.Event()
        self._context = context
        self._writing = asyncio.Lock()

    async def send(self, turn: int = 0, generation: int = 0, **message: Any) -> None:
        async with self._writing:
            await self._context.write(
                ai_pb2.ConverseResponse(turn=turn, generation=generation, **message)
            )

    def of_kind(self, kind: str) -> list[Any]:
        return [getattr(each, kind) for each in self.received if each.HasField(kind)]

    async def wait_for(self, kind: str, count: int = 1) -> Any:
        """Wait for the `count`th message of a kind, and return it."""
        async with asyncio.timeout(5):
            while len(found := self.of_kind(kind)) < count:
                self.came.clear()
                await self.came.wait()
        return found[count - 1]

    async def speech(self, start_ms: int, end_ms: int) -> None:
        await self.send(speech_started={"at_ms": start_ms})
        await self.send(speech_ended={"at_ms": end_ms})

    async def words(self, text: str, *, final: bool = False) -> None:
        transcript = speech_pb2.Transcript(verbatim=text, clean=text)
        await self.send(transcript={"transcript": transcript, "final": final})

    async def commit(
        self,
        text: str,
        source: Any = turn_pb2.UTTERANCE_SOURCE_SPEECH,
        *,
        start_ms: int = 0,
        end_ms: int = 0,
        will_be_revised: bool = False,
    ) -> int:
        """Make a turn of `text`; return its generation."""
        self.generation += 1
        await self.send(
            self.turn,
            self.generation,
            turn_committed={
                "source": source,
                "transcript": {"verbatim": text, "clean": text},
                "start_ms": start_ms,
                "end_ms": end_ms,
                "will_be_revised": will_be_revised,
            },
        )
        self.turn += 1
        return self.generation

    async def speak(self, generation: int, text: str, *, end: bool = True) -> None:
        """Say `text`: a word every 300 ms, its audio in pieces of a word's length."""
        words = text.split()
        for index, word in enumerate(words):
            offset = index * WORD_MS
            spaced = word if index == 0 else f" {word}"
            await self.send(
                generation=generation,
                reply_text={
                    "text": spaced,
                    "audio_offset_ms": offset,
                    "words": [{"text": word, "start_ms": offset, "end_ms": offset + WORD_MS}],
                },
            )
            for at in range(0, WORD_MS, 100):
                stages = []
                if index == 0 and at == 0:
                    stages = [
                        turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_ENDPOINT, duration_ms=5, at_ms=5)
                    ]
                await self.send(
                    generation=generation,
                    reply_audio={
                        "pcm": (index + 1).to_bytes(2, "little") * (RATE_HZ // 10),
                        "offset_ms": offset + at,
                        "stages": stages,
                    },
                )
        if end:
            await self.end(generation, text)

    async def end(self, generation: int, text: str) -> None:
        await self.send(
            generation=generation,
            reply_ended={
                "reason": turn_pb2.REPLY_END_REASON_COMPLETED,
                "text": text,
                "audio_ms": len(text.split()) * WORD_MS,
            },
        )


class FakeAi(ai_pb2_grpc.AiServiceServicer):
    """Answers every typed text with `answer`; everything else the test does by hand."""

    def __init__(self) -> None:
        self.answer = "That is very good"
        self.error: ParleyError | None = None
        self.opened: asyncio.Queue[EngineSession] = asyncio.Queue()
        self.live = 0
        self.places: int | None = None
        self.refused = 0
        self.on_text: Callable[[EngineSession, str], Awaitable[None]] | None = None
        self.asked = asyncio.Event()
        self.opening = asyncio.Event()
        self.opening.set()
        self.feedback = feedback_pb2.Feedback()
        self.assessed: list[ai_pb2.AssessConfig] = []
        self.assessing = asyncio.Event()
        self.assessing.set()
        self.assess_error: ParleyError | None = None

    async def session(self) -> EngineSession:
        """Return the next engine session that is opened."""
        async with asyncio.timeout(20):
            return await self.opened.get()

    async def Assess(self, _requests: Any, context: Any) -> Any:
        first = await context.read()
        self.assessed.append(first.config)
        await self.assessing.wait()
        if self.assess_error is not None:
            await refuse(context, self.assess_error)
        return ai_pb2.AssessResponse(feedback=self.feedback)

    async def Converse(self, _requests: Any, context: Any) -> None:
        first = await context.read()
        self.asked.set()
        await self.opening.wait()
        if self.error is not None:
            self.refused += 1
            await refuse(context, self.error)
        if self.places is not None and self.live >= self.places:
            self.refused += 1
            await refuse(context, ResourceExhausted("It is full.", reason="AT_CAPACITY"))
        session = EngineSession(first.start, context, self.answer)
        await session.send(
            ready={
                "engine": first.start.engine or "scripted",
                "voice": first.start.voice or "ada",
                "output_format": {
                    "encoding": audio_pb2.AUDIO_ENCODING_PCM_S16LE,
                    "sample_rate_hz": RATE_HZ,
                    "channels": 1,
                },
            }
        )
        self.live += 1
        self.opened.put_nowait(session)
        reading = asyncio.create_task(self._read(session, context))
        killed = asyncio.create_task(session.kill.wait())
        try:
            await asyncio.wait({reading, killed}, return_when=asyncio.FIRST_COMPLETED)
            if session.kill.is_set():
                await context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            reading.result()
        finally:
            self.live -= 1
            reading.cancel()
            killed.cancel()
            await asyncio.gather(reading, killed, return_exceptions=True)

    async def _read(self, session: EngineSession, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.HasField("audio"):
                session.audio += request.audio.pcm
                session.audio_came.set()
                continue
            session.received.append(request)
            session.came.set()
            if request.HasField("text"):
                await self._answer(session, request.text.text)
            if request.HasField("end_input"):
                return

    async def _answer(self, session: EngineSession, text: str) -> None:
        if self.on_text is not None:
            await self.on_text(session, text)
            return
        generation = await session.commit(text, turn_pb2.UTTERANCE_SOURCE_TEXT)
        await session.speak(generation, session.answer)


class FakeHistory(history_pb2_grpc.HistoryServiceServicer):
    """Keeps events by id."""

    def __init__(self) -> None:
        self.events: dict[str, history_pb2.ConversationEvent] = {}
        self.came = asyncio.Event()
        self.away = False
        self.mistakes: list[history_pb2.Mistake] = []
        self.asked_by: list[str] = []

    async def ListMistakes(self, _request: Any, context: Any) -> Any:
        self.asked_by.append(dict(context.invocation_metadata()).get("authorization", ""))
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return history_pb2.ListMistakesResponse(mistakes=self.mistakes)

    async def Ingest(self, request: Any, context: Any) -> Any:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        stored = 0
        for event in request.events:
            stored += event.event_id not in self.events
            self.events[event.event_id] = event
        self.came.set()
        return history_pb2.IngestResponse(stored=stored, known=len(request.events) - stored)

    def of(self, conversation_id: str, kind: str) -> list[Any]:
        return [
            getattr(event, kind)
            for event in self.events.values()
            if event.conversation_id == conversation_id and event.HasField(kind)
        ]

    async def wait_for(self, conversation_id: str, kind: str, count: int = 1) -> list[Any]:
        async with asyncio.timeout(20):
            while len(found := self.of(conversation_id, kind)) < count:
                self.came.clear()
                await self.came.wait()
        return found


class FakeMedia(media_pb2_grpc.MediaServiceServicer):
    """Puts samples where they belong, and confirms what it has."""

    def __init__(self) -> None:
        self.tracks: dict[str, dict[int, bytearray]] = {}
        self.starts: list[media_pb2.RecordStart] = []
        self.finished: dict[str, int] = {}
        self.away = False
        self.streams = 0
        self.encoding = asyncio.Event()
        self.encoding.set()
        self.cut: asyncio.Event = asyncio.Event()

    async def Record(self, _requests: Any, context: Any) -> None:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self.streams += 1
        start = (await context.read()).start
        self.starts.append(start)
        tracks = self.tracks.setdefault(start.recording_id, {1: bytearray(), 2: bytearray()})
        await context.write(self._position(tracks))
        while (request := await context.read()) is not grpc.aio.EOF:
            if self.away:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
            if request.HasField("audio"):
                self._put(tracks[request.audio.track], request.audio)
                await context.write(self._position(tracks))
            if request.HasField("finish"):
                self.finished[start.recording_id] = request.finish.duration_ms
                response = self._position(tracks)
                await self.encoding.wait()
                response.recording.recording_id = start.recording_id
                response.recording.duration_ms = request.finish.duration_ms
                response.recording.learner_sha256 = hashlib.sha256(tracks[1]).hexdigest()
                await context.write(response)
                return

    def _put(self, track: bytearray, audio: media_pb2.RecordAudio) -> None:
        have = len(track) // 2
        if audio.first_sample > have:
            track.extend(bytes((audio.first_sample - have) * 2))
            have = audio.first_sample
        track.extend(audio.pcm[(have - audio.first_sample) * 2 :])

    def _position(self, tracks: dict[int, bytearray]) -> media_pb2.RecordResponse:
        return media_pb2.RecordResponse(
            learner_samples=len(tracks[1]) // 2, tutor_samples=len(tracks[2]) // 2
        )


class FakeUser(user_pb2_grpc.UserServiceServicer):
    """Gives everybody one profile."""

    def __init__(self) -> None:
        self.account = user_pb2.Account()
        self.away = False

    async def GetProfile(self, _request: Any, context: Any) -> Any:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return user_pb2.GetProfileResponse(account=self.account)
