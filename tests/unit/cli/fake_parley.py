"""A scripted Parley: the whole contract as far as a client can tell, without models or disks.

Everything happens in answer to a request, and audio is counted in samples, so a test never waits
for this server's clock. The engine's name chooses what a conversation does (see `ENGINES`).

Run by hand to look at the client: `python -m tests.unit.cli.fake_parley 127.0.0.1:8099`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from parley.ai.v1 import ai_pb2, ai_pb2_grpc
from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.history.v1 import history_pb2, history_pb2_grpc
from parley.media.v1 import media_pb2, media_pb2_grpc
from parley.types.v1 import audio_pb2, feedback_pb2, scenario_pb2, speech_pb2, turn_pb2
from parley.user.v1 import user_pb2, user_pb2_grpc

ENGINES = {
    "scripted": "answers after 300 ms of silence",
    "silent": "hears and never answers",
    "hinting": "hears, never answers, and helps instead",
    "interrupting": "breaks its first reply off and begins another generation",
    "leaving": "says that it goes away as soon as the session has begun",
    "pausing": "holds its reply back for a while and goes on",
    "flaky": "loses the connection in the middle of the first reply",
    "forgetful": "loses the connection, and the audio sent to it, after 100 ms of audio",
    "reset": "has its stream reset by a gateway in the middle of the first reply",
    "stale": "sends audio of an old generation after a new one began",
    "noticing": "sends a notice about every utterance",
    "careful": "hears every utterance a second time, to another effect",
    "full": "refuses every session: no room",
    "dying": "fails in the middle of the first reply",
    "token-expiring": "refuses the first token it sees as expired",
}

# How long a reply is held back, in audio received.
HOLD_MS = 400

# How a broken way looks: the network itself, and a gateway whose server died.
BREAKS = {
    "flaky": (grpc.StatusCode.UNAVAILABLE, "connection reset"),
    "reset": (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
    "forgetful": (grpc.StatusCode.UNAVAILABLE, "connection reset"),
}

TUTOR_RATE_HZ = 24_000
LEARNER_RATE_HZ = 16_000
REPLY = "That sounds like a lovely trip. Where did you go next?"
HEARD_AGAIN = "I went to the market yesterday"
HEARD_UTTERANCE = "I goed to the market yesterday"
_ENDPOINT_MS = 300
_WORD_MS = 120
_CHUNK_MS = 40
CONVERSATION_ID = "0197c3a2-1111-7000-8000-0000000000aa"
OLD_IDS = (
    "0197c3a2-1111-7000-8000-000000000001",
    "0197c3a2-2222-7000-8000-000000000002",
    "0196ffff-3333-7000-8000-000000000003",
)
RECORDING_ID = "0197c3a2-1111-7000-8000-0000000000ff"
TURN_ID = "0197c3a2-1111-7000-8000-00000000000{}"


def status_of(
    code: grpc.StatusCode,
    reason: str,
    message: str,
    *,
    retry_after_s: float | None = None,
    violations: dict[str, str] | None = None,
) -> status_pb2.Status:
    """A `google.rpc.Status` as Parley sends it."""
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=reason, domain="parley", metadata={"request_id": "r-1"})
    ]
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if violations:
        bad = error_details_pb2.BadRequest()
        for path, text in violations.items():
            bad.field_violations.add(field=path, description=text)
        details.append(bad)
    packed = []
    for detail in details:
        holder = any_pb2.Any()
        holder.Pack(detail)
        packed.append(holder)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, *args: Any, **kwargs: Any) -> None:
    """Abort a call with details."""
    status = status_of(code, *args, **kwargs)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, status.message)


@dataclass
class FakeParley:
    """What the fake knows and has seen. Tests set and read it.

    Attributes:
        users: name to password.
        engines: what `ListEngines` tells.
        access_lifetime_s: of new tokens.
        valid_tokens, expired_tokens: access tokens.
        refresh_tokens: that still work; each once.
        logins, refreshes, logouts: how often.
        starts: every `start` received.
        requests: every other message of conversations, by kind.
        account: the only one there is.
        never_ends: whether `finish` is ignored.
        progress: what `GetProgress` tells, but for the days that were asked about.
        progress_asked: every `GetProgress`.
        partings: how each client left that was told `ended`: "closed" or "cancelled".
    """

    users: dict[str, str] = field(default_factory=dict)
    engines: list[ai_pb2.EngineInfo] = field(
        default_factory=lambda: [
            ai_pb2.EngineInfo(
                name="local", description="On this machine.", available=True, default=True
            ),
            ai_pb2.EngineInfo(
                name="cloud", description="Far away.", unavailable_reason="No key is set."
            ),
        ]
    )
    access_lifetime_s: float = 600.0
    valid_tokens: set[str] = field(default_factory=set)
    refresh_tokens: set[str] = field(default_factory=set)
    logins: int = 0
    refreshes: int = 0
    logouts: int = 0
    starts: list[conversation_pb2.StartSession] = field(default_factory=list)
    requests: dict[str, list[conversation_pb2.ConverseRequest]] = field(default_factory=dict)
    account: user_pb2.Account = field(default_factory=user_pb2.Account)
    update_masks: list[list[str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    progress: history_pb2.GetProgressResponse = field(
        default_factory=history_pb2.GetProgressResponse
    )
    progress_asked: list[history_pb2.GetProgressRequest] = field(default_factory=list)
    downloads: list[media_pb2.DownloadRecordingRequest] = field(default_factory=list)
    synthesized: list[ai_pb2.SynthesizeRequest] = field(default_factory=list)
    transcribed_samples: int = 0
    never_ends: bool = False
    partings: list[str] = field(default_factory=list)
    sessions: dict[str, FakeConversation] = field(default_factory=dict)
    counter: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tokens(self) -> user_pb2.TokenPair:
        """Make a new pair that works."""
        with self.lock:
            self.counter += 1
            number = self.counter
        pair = user_pb2.TokenPair(
            access_token=f"access-{number}", refresh_token=f"refresh-{number}"
        )
        now = time.time()
        pair.access_token_expires_at.FromMilliseconds(int((now + self.access_lifetime_s) * 1000))
        pair.refresh_token_expires_at.FromMilliseconds(int((now + 1e6) * 1000))
        self.valid_tokens.add(pair.access_token)
        self.refresh_tokens.add(pair.refresh_token)
        return pair

    def check(self, context: grpc.ServicerContext) -> None:
        """Refuse a call without a token that works."""
        metadata = dict(context.invocation_metadata())
        token = str(metadata.get("authorization", "")).removeprefix("Bearer ")
        if not token:
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "No token came.")
        if token not in self.valid_tokens:
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", "The token is old.")

    def heard(self) -> list[tuple[int, int]]:
        """The reports of what was played: generation and milliseconds."""
        return [(r.heard.generation, r.heard.audio_ms) for r in self.requests.get("heard", [])]


class FakeConversation:
    """One session: requests in, responses out."""

    def __init__(self, fake: FakeParley, start: conversation_pb2.StartSession) -> None:
        self._fake = fake
        self._start = start
        self.engine = start.engine or "scripted"
        self._seq = 0
        self._samples = 0
        self._speech_end = 0
        self._speaking = False
        self._turn = 0
        self._generation = 0
        self._reply_ms = 0
        self._replying = False
        self._saved = 0
        self._lost = False
        self._held_until: int | None = None
        self.sent: list[conversation_pb2.ConverseResponse] = []

    def started(self, *, resumed: bool) -> conversation_pb2.ConverseResponse:
        return self._say(
            started=conversation_pb2.SessionStarted(
                conversation_id=CONVERSATION_ID,
                output_format=audio_pb2.AudioFormat(
                    encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE,
                    sample_rate_hz=TUTOR_RATE_HZ,
                    channels=1,
                ),
                resume_handle="handle-1",
                engine=self.engine,
                voice=self._start.voice or "hibari",
                scenario=scenario_pb2.Scenario(scenario_id="free-talk", title="Free talk"),
                resumed=resumed,
                next_turn=self._turn + 1,
                next_sample=self._samples,
            )
        )

    def opening(self) -> Iterator[conversation_pb2.ConverseResponse]:
        if self.engine == "leaving":
            yield self._say(go_away=conversation_pb2.GoAway(time_left_ms=5000))
        if self._start.tutor_opens:
            self._turn += 1
            yield from self._reply(kind=conversation_pb2.REPLY_KIND_OPENING)

    def handle(
        self, request: conversation_pb2.ConverseRequest
    ) -> Iterator[conversation_pb2.ConverseResponse]:
        kind = request.WhichOneof("message") or ""
        self._fake.requests.setdefault(kind, []).append(request)
        match kind:
            case "audio":
                yield from self._audio(request.audio)
            case "text":
                yield from self._utterance(request.text.text)
            case "heard":
                yield from self._heard(request.heard)
            case "interrupt":
                yield from self._end(turn_pb2.REPLY_END_REASON_INTERRUPTED)
            case "end_turn":
                yield from self._utterance(HEARD_UTTERANCE)
            case "ping":
                yield self._say(pong=conversation_pb2.Pong(nonce=request.ping.nonce))
            case "finish" if not self._fake.never_ends:
                if self._replying:
                    yield from self._end(turn_pb2.REPLY_END_REASON_SESSION_ENDED)
                yield self._say(
                    ended=conversation_pb2.SessionEnded(
                        summary=conversation_pb2.SessionSummary(
                            turns=self._saved,
                            turns_saved=self._saved,
                            duration_ms=self._samples * 1000 // LEARNER_RATE_HZ,
                            median_silence_ms=321,
                        )
                    )
                )

    def _audio(
        self, audio: conversation_pb2.LearnerAudio
    ) -> Iterator[conversation_pb2.ConverseResponse]:
        if self.engine == "forgetful" and not self._lost and audio.first_sample >= 1600:
            self._lost = True
            self._fake.requests["audio"].pop()
            raise ConnectionError(self.engine)
        if self._held_until is not None and self._samples >= self._held_until:
            self._held_until = None
            resumed = conversation_pb2.ReplyResumed()
            yield self._say(generation=self._generation, reply_resumed=resumed)
        samples = np.frombuffer(audio.pcm, dtype="<i2").astype(np.float64)
        self._samples = audio.first_sample + len(samples)
        if np.sqrt(np.mean(samples**2)) > 300:
            self._speech_end = self._samples
            if not self._speaking:
                self._speaking = True
                yield self._say(
                    speech_started=conversation_pb2.SpeechStarted(at_ms=_ms(audio.first_sample))
                )
                yield self._transcript("I goed", final=False)
        elif self._speaking and self._samples - self._speech_end >= (
            LEARNER_RATE_HZ * _ENDPOINT_MS // 1000
        ):
            self._speaking = False
            end = conversation_pb2.SpeechEnded(at_ms=_ms(self._speech_end))
            yield self._say(speech_ended=end)
            if not self._start.turn_taking.push_to_talk:
                yield from self._utterance(HEARD_UTTERANCE)

    def _utterance(self, text: str) -> Iterator[conversation_pb2.ConverseResponse]:
        if self.engine == "silent":
            return
        if self.engine == "hinting":
            self._turn += 1
            yield from self._reply(kind=conversation_pb2.REPLY_KIND_HINT)
            return
        self._turn += 1
        yield self._transcript(text, final=True)
        if self.engine == "noticing":
            status = status_of(
                grpc.StatusCode.UNAVAILABLE,
                "PROVIDER_DOWN",
                "The first voice is down; using another.",
            )
            yield self._say(notice=conversation_pb2.Notice(status=status))
        if self.engine == "careful":
            yield self._transcript(HEARD_AGAIN, final=True)
        if self.engine == "interrupting" and self._turn == 1:
            yield from self._reply()
            yield from self._end(turn_pb2.REPLY_END_REASON_INTERRUPTED)
        yield from self._reply()

    def _reply(
        self, kind: conversation_pb2.ReplyKind.ValueType = conversation_pb2.REPLY_KIND_ANSWER
    ) -> Iterator[conversation_pb2.ConverseResponse]:
        self._generation += 1
        self._replying = True
        generation = self._generation
        started = conversation_pb2.ReplyStarted(kind=kind)
        yield self._say(generation=generation, reply_started=started)
        words = REPLY.split()
        yield self._say(
            generation=generation,
            reply_text=conversation_pb2.ReplyText(
                text=REPLY,
                words=[
                    speech_pb2.Word(text=word, start_ms=i * _WORD_MS, end_ms=(i + 1) * _WORD_MS)
                    for i, word in enumerate(words)
                ],
            ),
        )
        self._reply_ms = 0 if self._start.captions_only else len(words) * _WORD_MS
        for offset_ms in range(0, self._reply_ms, _CHUNK_MS):
            if offset_ms == 10 * _CHUNK_MS:
                yield from self._midway(generation)
            audio = self._say(
                generation=generation,
                reply_audio=conversation_pb2.ReplyAudio(
                    pcm=tone(offset_ms, _CHUNK_MS), offset_ms=offset_ms
                ),
            )
            if not self._lost:
                yield audio
        if self._lost and self.engine != "forgetful":
            # Everything was said; what came after the loss waits for the client to come back.
            raise ConnectionError(self.engine)
        if self._start.captions_only:
            yield from self._end(turn_pb2.REPLY_END_REASON_COMPLETED)

    def _midway(self, generation: int) -> Iterator[conversation_pb2.ConverseResponse]:
        if self.engine == "pausing":
            self._held_until = self._samples + HOLD_MS * LEARNER_RATE_HZ // 1000
            yield self._say(generation=generation, reply_paused=conversation_pb2.ReplyPaused())
        if self.engine == "stale" and generation > 1:
            loud = np.full(TUTOR_RATE_HZ, 32000, dtype="<i2").tobytes()
            yield self._say(
                generation=generation - 1, reply_audio=conversation_pb2.ReplyAudio(pcm=loud)
            )
        if self.engine in (*BREAKS, "dying") and generation == 1:
            self._lost = True

    def _heard(self, heard: conversation_pb2.Heard) -> Iterator[conversation_pb2.ConverseResponse]:
        current = self._replying and heard.generation == self._generation
        if current and heard.audio_ms >= self._reply_ms:
            yield from self._end(turn_pb2.REPLY_END_REASON_COMPLETED)

    def _end(
        self, reason: turn_pb2.ReplyEndReason.ValueType
    ) -> Iterator[conversation_pb2.ConverseResponse]:
        if not self._replying:
            return
        self._replying = False
        completed = reason == turn_pb2.REPLY_END_REASON_COMPLETED
        yield self._say(
            generation=self._generation,
            reply_ended=conversation_pb2.ReplyEnded(
                reason=reason,
                heard_text=REPLY if completed else "That sounds",
                heard_ms=self._reply_ms if completed else 240,
                stages=[
                    turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_ENDPOINT, duration_ms=_ENDPOINT_MS),
                    turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_TRANSCRIPT, duration_ms=2),
                ],
            ),
        )
        self._saved += 1
        saved = conversation_pb2.TurnSaved(turn_id=TURN_ID.format(self._turn), number=self._turn)
        yield self._say(turn_saved=saved)
        if completed:
            yield self._say(
                feedback=conversation_pb2.TurnFeedback(
                    turn_id=TURN_ID.format(self._turn), feedback=feedback()
                )
            )

    def _transcript(self, text: str, *, final: bool) -> conversation_pb2.ConverseResponse:
        turn = self._turn if final else self._turn + 1
        return self._say(
            turn=turn,
            transcript=conversation_pb2.TranscriptUpdate(
                transcript=speech_pb2.Transcript(verbatim=text, clean=text),
                final=final,
                end_ms=_ms(self._speech_end),
            ),
        )

    def _say(
        self, *, turn: int | None = None, generation: int = 0, **message: Any
    ) -> conversation_pb2.ConverseResponse:
        self._seq += 1
        response = conversation_pb2.ConverseResponse(
            seq=self._seq,
            turn=self._turn if turn is None else turn,
            generation=generation,
            **message,
        )
        self.sent.append(response)
        return response

    def resumed(self, last_seq: int) -> Iterator[conversation_pb2.ConverseResponse]:
        """Greet a client that comes back, and send what it did not get."""
        self._lost = self.engine == "forgetful"
        missed = [response for response in self.sent if response.seq > last_seq]
        yield self.started(resumed=True)
        yield from missed


class FakeConversationService(conversation_pb2_grpc.ConversationServiceServicer):
    def __init__(self, fake: FakeParley) -> None:
        self._fake = fake

    def Converse(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        self._fake.check(context)
        start = next(request_iterator).start
        self._fake.starts.append(start)
        if start.engine and start.engine not in ENGINES:
            refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "UNKNOWN_ENGINE",
                f"There is no engine '{start.engine}'.",
            )
        if start.engine == "full":
            refuse(
                context,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "AT_CAPACITY",
                "All places are taken.",
                retry_after_s=7,
            )
        if start.resume_handle and start.engine == "dying":
            refuse(context, grpc.StatusCode.INTERNAL, "INTERNAL", "A bug in Parley.")
        if start.resume_handle:
            session = self._fake.sessions[start.resume_handle]
            yield from session.resumed(start.last_seq)
        else:
            session = FakeConversation(self._fake, start)
            self._fake.sessions["handle-1"] = session
            yield session.started(resumed=False)
            yield from session.opening()
        try:
            for request in request_iterator:
                yield from session.handle(request)
                if request.HasField("finish") and not self._fake.never_ends:
                    self._fake.partings.append(_parting(request_iterator))
                    return
        except ConnectionError as error:
            if str(error) == "dying":
                refuse(context, grpc.StatusCode.INTERNAL, "INTERNAL", "A bug in Parley.")
            code, text = BREAKS[str(error)]
            context.abort(code, text)

    def ListScenarios(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        return conversation_pb2.ListScenariosResponse(
            scenarios=[
                scenario_pb2.Scenario(
                    scenario_id="restaurant",
                    title="At the restaurant",
                    description="Order a meal.",
                    level=2,
                )
            ]
        )


class FakeUserService(user_pb2_grpc.UserServiceServicer):
    def __init__(self, fake: FakeParley) -> None:
        self._fake = fake

    def Register(self, request: Any, context: Any) -> Any:
        if request.username in self._fake.users:
            refuse(
                context,
                grpc.StatusCode.ALREADY_EXISTS,
                "USERNAME_TAKEN",
                f"The name '{request.username}' is taken.",
            )
        if len(request.password) < 8:
            refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_REQUEST",
                "A field is wrong.",
                violations={"password": "must have at least 8 characters"},
            )
        self._fake.users[request.username] = request.password
        self._fake.account.username = request.username
        self._fake.account.user_id = "0197c3a2-0000-7000-8000-000000000000"
        self._fake.account.profile.CopyFrom(request.profile)
        return user_pb2.RegisterResponse(account=self._fake.account, tokens=self._fake.tokens())

    def Login(self, request: Any, context: Any) -> Any:
        self._fake.logins += 1
        if self._fake.users.get(request.username) != request.password:
            refuse(
                context,
                grpc.StatusCode.UNAUTHENTICATED,
                "CREDENTIALS_INVALID",
                "No such user, or the password is wrong.",
            )
        self._fake.account.username = request.username
        return user_pb2.LoginResponse(account=self._fake.account, tokens=self._fake.tokens())

    def Refresh(self, request: Any, context: Any) -> Any:
        self._fake.refreshes += 1
        if request.refresh_token not in self._fake.refresh_tokens:
            refuse(
                context,
                grpc.StatusCode.UNAUTHENTICATED,
                "REFRESH_TOKEN_INVALID",
                "The refresh token was used before.",
            )
        self._fake.refresh_tokens.discard(request.refresh_token)
        return user_pb2.RefreshResponse(tokens=self._fake.tokens())

    def Logout(self, request: Any, context: Any) -> Any:
        self._fake.logouts += 1
        self._fake.refresh_tokens.discard(request.refresh_token)
        return user_pb2.LogoutResponse()

    def GetProfile(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        return user_pb2.GetProfileResponse(account=self._fake.account)

    def UpdateProfile(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        self._fake.update_masks.append(list(request.update_mask.paths))
        account = self._fake.account
        for path in request.update_mask.paths:
            owner, target = request.account, account
            *parents, name = path.split(".")
            for parent in parents:
                owner, target = getattr(owner, parent), getattr(target, parent)
            target.ClearField(name)
            value = getattr(owner, name)
            if hasattr(value, "extend"):
                getattr(target, name).extend(value)
            else:
                setattr(target, name, value)
        return user_pb2.UpdateProfileResponse(account=account)

    def GetJwks(self, request: Any, context: Any) -> Any:
        return user_pb2.GetJwksResponse(jwks_json='{"keys":[]}')


class FakeAiService(ai_pb2_grpc.AiServiceServicer):
    def __init__(self, fake: FakeParley) -> None:
        self._fake = fake

    def ListEngines(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        return ai_pb2.ListEnginesResponse(engines=self._fake.engines)

    def ListVoices(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        return ai_pb2.ListVoicesResponse(
            voices=[
                ai_pb2.Voice(
                    name="hibari", display_name="Hibari", language="en-US", engines=["local"]
                )
            ]
        )

    def Synthesize(self, request: Any, context: Any) -> Iterator[Any]:
        self._fake.check(context)
        self._fake.synthesized.append(request)
        yield ai_pb2.SynthesizeResponse(
            format=audio_pb2.AudioFormat(sample_rate_hz=TUTOR_RATE_HZ, channels=1)
        )
        for offset_ms in range(0, 400, 200):
            yield ai_pb2.SynthesizeResponse(pcm=tone(offset_ms, 200), offset_ms=offset_ms)

    def Transcribe(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        self._fake.check(context)
        first = next(request_iterator)
        assert first.HasField("config")
        for request in request_iterator:
            self._fake.transcribed_samples += len(request.pcm) // 2
        if first.config.partials:
            partial = speech_pb2.Transcript(verbatim="I goed")
            yield ai_pb2.TranscribeResponse(transcript=partial)
        yield ai_pb2.TranscribeResponse(
            transcript=speech_pb2.Transcript(verbatim=HEARD_UTTERANCE),
            final=True,
            audio_ms=_ms(self._fake.transcribed_samples),
        )


class FakeHistoryService(history_pb2_grpc.HistoryServiceServicer):
    def __init__(self, fake: FakeParley) -> None:
        self._fake = fake

    def ListConversations(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        ids = [i for i in OLD_IDS if i not in self._fake.deleted]
        begin = int(request.page_token or 0)
        # Two a page, so that paging is not left untried.
        page = ids[begin : begin + min(2, request.page_size or 2)]
        end = begin + len(page)
        return history_pb2.ListConversationsResponse(
            conversations=[summary(i) for i in page],
            next_page_token=str(end) if end < len(ids) else "",
        )

    def GetConversation(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        if request.conversation_id not in (*OLD_IDS, CONVERSATION_ID):
            refuse(
                context,
                grpc.StatusCode.NOT_FOUND,
                "CONVERSATION_NOT_FOUND",
                "There is no such conversation.",
            )
        turn = turn_pb2.Turn(
            turn_id=TURN_ID.format(1),
            number=1,
            utterance=speech_pb2.Transcript(verbatim=HEARD_UTTERANCE),
            heard_text="That sounds",
            reply_end_reason=turn_pb2.REPLY_END_REASON_INTERRUPTED,
            stages=[turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_ENDPOINT, duration_ms=298)],
        )
        return history_pb2.GetConversationResponse(
            conversation=summary(request.conversation_id),
            turns=[history_pb2.TurnRecord(turn=turn, feedback=feedback())],
        )

    def SearchTurns(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        if "market" not in request.query:
            return history_pb2.SearchTurnsResponse()
        match = history_pb2.TurnMatch(
            conversation_id=OLD_IDS[0],
            turn_id=TURN_ID.format(1),
            number=1,
            snippet=HEARD_UTTERANCE,
            spans=[history_pb2.MatchSpan(start=14, end=20)],
        )
        return history_pb2.SearchTurnsResponse(matches=[match])

    def GetProgress(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        self._fake.progress_asked.append(request)
        told = history_pb2.GetProgressResponse()
        told.CopyFrom(self._fake.progress)
        told.time_zone = request.time_zone or "Europe/Madrid"
        told.from_date = request.from_date or "2026-10-24"
        told.to_date = request.to_date or "2026-11-23"
        return told

    def DeleteConversation(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        self._fake.deleted.append(request.conversation_id)
        return history_pb2.DeleteConversationResponse()


class FakeMediaService(media_pb2_grpc.MediaServiceServicer):
    def __init__(self, fake: FakeParley) -> None:
        self._fake = fake

    def GetRecording(self, request: Any, context: Any) -> Any:
        self._fake.check(context)
        if request.conversation_id not in OLD_IDS:
            refuse(
                context, grpc.StatusCode.NOT_FOUND, "RECORDING_NOT_FOUND", "There is no recording."
            )
        return media_pb2.GetRecordingResponse(
            recording=media_pb2.Recording(recording_id=RECORDING_ID)
        )

    def DownloadRecording(self, request: Any, context: Any) -> Iterator[Any]:
        self._fake.check(context)
        self._fake.downloads.append(request)
        yield media_pb2.DownloadRecordingResponse(info=media_pb2.DownloadInfo(total_bytes=8))
        yield media_pb2.DownloadRecordingResponse(chunk=b"RIFF")
        yield media_pb2.DownloadRecordingResponse(chunk=b"data")


def _parting(requests: Iterator[Any]) -> str:
    """Read to the end of the client's side; say how it came."""
    try:
        for _ in requests:
            pass
    except grpc.RpcError:
        return "cancelled"
    return "closed"


def tone(offset_ms: int, duration_ms: int) -> bytes:
    """A piece of a 440 Hz tone, in phase over pieces."""
    index = np.arange(duration_ms * TUTOR_RATE_HZ // 1000) + offset_ms * TUTOR_RATE_HZ // 1000
    return (8000 * np.sin(2 * np.pi * 440 * (index + 1) / TUTOR_RATE_HZ)).astype("<i2").tobytes()


def feedback() -> feedback_pb2.Feedback:
    """One correction."""
    return feedback_pb2.Feedback(
        corrections=[
            feedback_pb2.Correction(
                kind=feedback_pb2.CORRECTION_KIND_GRAMMAR,
                first_word=1,
                end_word=2,
                original="goed",
                replacement="went",
                explanation="'Go' is irregular.",
            )
        ]
    )


def summary(conversation_id: str) -> history_pb2.ConversationSummary:
    """One conversation in a list."""
    found = history_pb2.ConversationSummary(
        conversation_id=conversation_id,
        scenario_id="free-talk",
        scenario_title="Free talk",
        turns=1,
        learner_speech_ms=2500,
        preview=HEARD_UTTERANCE,
        median_silence_ms=512,
    )
    found.started_at.FromJsonString("2026-01-02T03:04:05Z")
    return found


def serve(fake: FakeParley, address: str) -> tuple[grpc.Server, int]:
    """Start the fake; returns the server, to be stopped, and its port."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8, thread_name_prefix="fake-parley"))
    user_pb2_grpc.add_UserServiceServicer_to_server(FakeUserService(fake), server)
    conversation_pb2_grpc.add_ConversationServiceServicer_to_server(
        FakeConversationService(fake), server
    )
    ai_pb2_grpc.add_AiServiceServicer_to_server(FakeAiService(fake), server)
    history_pb2_grpc.add_HistoryServiceServicer_to_server(FakeHistoryService(fake), server)
    media_pb2_grpc.add_MediaServiceServicer_to_server(FakeMediaService(fake), server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port


def _ms(samples: int) -> int:
    return samples * 1000 // LEARNER_RATE_HZ


if __name__ == "__main__":
    served, bound = serve(FakeParley(), sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0")
    sys.stdout.write(f"a scripted Parley at 127.0.0.1:{bound}\n")
    sys.stdout.flush()
    served.wait_for_termination()
