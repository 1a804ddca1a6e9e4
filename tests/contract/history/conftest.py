"""The history service in this process, called through real channels as each kind of caller."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parley.history.v1 import history_pb2 as pb
from parley.history.v1.history_pb2_grpc import HistoryServiceStub
from parley.types.v1 import feedback_pb2, speech_pb2, turn_pb2
from services.common.clock import SystemClock
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.common.lifecycle import running
from services.common.service_identity import ServiceSigner
from services.common.status import from_rpc_error
from services.common.timestamps import to_timestamp
from services.history.bootstrap import bootstrap
from services.history.settings import HistorySettings

BEGAN = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)


@dataclass
class Callers:
    """Proofs of identity for the tests' calls."""

    key: Ed25519PrivateKey
    services_dir: Path

    def user(self, user_id: str) -> list[tuple[str, str]]:
        now = int(SystemClock().now().timestamp())
        claims: dict[str, Any] = {"iss": "parley", "aud": "parley", "sub": user_id, "sid": new_id()}
        claims |= {"iat": now, "exp": now + 600, "jti": new_id()}
        token = jwt.encode(
            claims, self.key, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": "test"}
        )
        return [("authorization", f"Bearer {token}")]

    def service(self, name: str) -> list[tuple[str, str]]:
        signer = ServiceSigner.open(name, self.services_dir, SystemClock())
        return [signer.metadata("history")]


@pytest.fixture
def callers(data_dir: Path) -> Callers:
    key = Ed25519PrivateKey.generate()
    jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    (data_dir / "keys").mkdir()
    document = {"keys": [jwk | {"kid": "test", "use": "sig", "alg": "EdDSA"}]}
    (data_dir / "keys" / "jwks.json").write_text(json.dumps(document))
    return Callers(key, data_dir / "keys" / "services")


@dataclass
class History:
    """The service and who asks it."""

    stub: Any
    callers: Callers
    user_id: str
    audit_dir: Path

    async def ingest(self, *events: pb.ConversationEvent) -> pb.IngestResponse:
        identity = self.callers.service("conversation")
        response = await self.stub.Ingest(pb.IngestRequest(events=events), metadata=identity)
        assert isinstance(response, pb.IngestResponse)
        return response

    async def ask(self, method: str, request: Any, user_id: str = "") -> Any:
        identity = self.callers.user(user_id or self.user_id)
        return await getattr(self.stub, method)(request, metadata=identity)

    async def refused(self, call: Any) -> ParleyError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return from_rpc_error(caught.value)


Serve = Callable[..., AbstractAsyncContextManager[History]]


@pytest.fixture
def serve_history(data_dir: Path, callers: Callers, database_settings: dict[str, Any]) -> Serve:
    @asynccontextmanager
    async def serve(**settings: Any) -> AsyncIterator[History]:
        # A media service that nobody runs: what history asks of it waits in the outbox.
        values = {"port": 0, "metrics_port": 0, "media_address": "127.0.0.1:1"} | settings
        loaded = HistorySettings(data_dir=data_dir, **(values | database_settings))
        async with (
            running("history", loaded, bootstrap) as service,
            grpc.aio.insecure_channel(service.address) as channel,
        ):
            yield History(HistoryServiceStub(channel), callers, new_id(), loaded.audit_dir)

    return serve


@pytest.fixture
async def history(serve_history: Serve) -> AsyncIterator[History]:
    async with serve_history() as found:
        yield found


@dataclass
class Told:
    """Makes the events of one conversation."""

    user_id: str
    conversation_id: str
    began: datetime = BEGAN

    def event(self, after_s: float = 0, event_id: str = "", **what: Any) -> pb.ConversationEvent:
        return pb.ConversationEvent(
            event_id=event_id or new_id(),
            conversation_id=self.conversation_id,
            user_id=self.user_id,
            occurred_at=to_timestamp(self.began + timedelta(seconds=after_s)),
            **what,
        )

    def started(self, scenario_id: str = "free-talk") -> pb.ConversationEvent:
        started = pb.ConversationStarted(
            scenario_id=scenario_id, scenario_title=scenario_id.title(), engine="local", voice="v"
        )
        return self.event(started=started)

    def turn(self, number: int, said: str, reply: str = "", **more: Any) -> pb.ConversationEvent:
        fields: dict[str, Any] = {
            "turn_id": new_id(),
            "number": number,
            "source": turn_pb2.UTTERANCE_SOURCE_SPEECH,
            "utterance": speech_pb2.Transcript(verbatim=said, clean=said),
            "started_at": to_timestamp(self.began + timedelta(seconds=10 * number)),
            "utterance_start_ms": 10_000 * number,
            "utterance_end_ms": 10_000 * number + 1_500,
            "reply_text": reply,
            "heard_text": reply,
            "reply_end_reason": turn_pb2.REPLY_END_REASON_COMPLETED,
            "stages": [
                turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_ENDPOINT, duration_ms=100.0 * number),
                turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_FIRST_TOKEN, duration_ms=50.0),
            ],
        }
        turn = turn_pb2.Turn(**(fields | more))
        return self.event(10 * number + 5, turn=turn)

    def assessed(self, turn_id: str, *pairs: tuple[str, str]) -> pb.ConversationEvent:
        corrections = [
            feedback_pb2.Correction(
                correction_id=new_id(),
                kind=feedback_pb2.CORRECTION_KIND_GRAMMAR,
                original=original,
                replacement=replacement,
                confidence=0.5,
            )
            for original, replacement in pairs
        ]
        feedback = feedback_pb2.Feedback(corrections=corrections)
        return self.event(60, assessed=pb.TurnAssessed(turn_id=turn_id, feedback=feedback))

    def recording(self, recording_id: str) -> pb.ConversationEvent:
        stored = pb.RecordingStored(recording_id=recording_id, duration_ms=60_000)
        return self.event(90, recording=stored)

    def ended(self) -> pb.ConversationEvent:
        return self.event(100, ended=pb.ConversationEnded(duration_ms=100_000))


Tell = Callable[..., Told]


@pytest.fixture
def tell(history: History) -> Tell:
    def make(user_id: str = "", began: datetime = BEGAN) -> Told:
        return Told(user_id or history.user_id, new_id(), began)

    return make
