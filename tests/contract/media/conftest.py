"""The media service in this process, called through real channels as each kind of caller."""

import hashlib
import io
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import grpc.aio
import jwt
import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parley.media.v1 import media_pb2 as pb
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.types.v1 import audio_pb2
from services.common.clock import SystemClock
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.common.lifecycle import running
from services.common.limits import DEFAULT_LIMITS, Limits
from services.common.service_identity import ServiceSigner
from services.common.status import from_rpc_error
from services.media import workers
from services.media.bootstrap import bootstrap
from services.media.settings import MediaSettings

Samples = npt.NDArray[np.int16]

LEARNER, TUTOR = audio_pb2.AUDIO_TRACK_LEARNER, audio_pb2.AUDIO_TRACK_TUTOR
RATES = {LEARNER: 16_000, TUTOR: 24_000}


def tone(rate_hz: int, seconds: float, hertz: float = 440.0) -> Samples:
    """Return a tone with a little noise: something whose every sample matters."""
    at = np.arange(round(rate_hz * seconds))
    noise = np.random.default_rng(int(hertz)).normal(0, 200, len(at))
    return (8_000 * np.sin(2 * np.pi * hertz * at / rate_hz) + noise).astype(np.int16)


def sha256(samples: Samples) -> str:
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def decoded(data: bytes) -> tuple[Samples, int]:
    """Return the samples of an audio file, as another reader sees them, and their rate."""
    pieces = []
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="s16", layout="mono")
        for frame in container.decode(stream):
            pieces += [each.to_ndarray().reshape(-1) for each in resampler.resample(frame)]
        pieces += [each.to_ndarray().reshape(-1) for each in resampler.resample(None)]
        return np.concatenate(pieces).astype(np.int16), stream.rate


@dataclass
class Callers:
    """Proofs of identity for the tests' calls."""

    key: Ed25519PrivateKey
    services_dir: Path

    def user(self, user_id: str) -> list[tuple[str, str]]:
        now = int(SystemClock().now().timestamp())
        claims = {"iss": "parley", "aud": "parley", "sub": user_id, "sid": new_id()}
        token = jwt.encode(
            claims | {"iat": now, "exp": now + 600, "jti": new_id()},
            self.key,
            algorithm="EdDSA",
            headers={"typ": "at+jwt", "kid": "test"},
        )
        return [("authorization", f"Bearer {token}")]

    def service(self, name: str) -> list[tuple[str, str]]:
        signer = ServiceSigner.open(name, self.services_dir, SystemClock())
        return [signer.metadata("media")]


@pytest.fixture(autouse=True)
def as_good_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give codec work its full share: where other tests fill the machine, it would wait for all."""
    monkeypatch.setattr(workers, "_NICENESS", 0)


@pytest.fixture
def callers(data_dir: Path) -> Callers:
    key = Ed25519PrivateKey.generate()
    jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    (data_dir / "keys").mkdir()
    document = {"keys": [jwk | {"kid": "test", "use": "sig", "alg": "EdDSA"}]}
    (data_dir / "keys" / "jwks.json").write_text(json.dumps(document))
    return Callers(key, data_dir / "keys" / "services")


def started(user_id: str, **more: Any) -> pb.RecordStart:
    fields: dict[str, Any] = {
        "recording_id": new_id(),
        "conversation_id": new_id(),
        "user_id": user_id,
        "learner_format": {"encoding": audio_pb2.AUDIO_ENCODING_PCM_S16LE},
        "tutor_format": {
            "encoding": audio_pb2.AUDIO_ENCODING_PCM_S16LE,
            "sample_rate_hz": RATES[TUTOR],
            "channels": 1,
        },
    }
    return pb.RecordStart(**(fields | more))


Call = grpc.aio.StreamStreamCall[pb.RecordRequest, pb.RecordResponse]


@dataclass
class Taping:
    """An open Record stream."""

    call: Call
    start: pb.RecordStart

    async def write(self, **message: Any) -> None:
        await self.call.write(pb.RecordRequest(**message))

    async def read(self) -> pb.RecordResponse:
        response = await self.call.read()
        assert isinstance(response, pb.RecordResponse), "the stream ended"
        return response

    async def audio(
        self, track: audio_pb2.AudioTrack.ValueType, samples: Samples, first: int = 0
    ) -> None:
        """Send samples in messages of 100 ms."""
        step = RATES[track] // 10
        for at in range(0, len(samples), step):
            pcm = samples[at : at + step].astype("<i2").tobytes()
            audio = pb.RecordAudio(track=track, pcm=pcm, first_sample=first + at)
            await self.write(audio=audio)

    async def on_disk(self, learner: int = 0, tutor: int = 0) -> None:
        """Wait until so many samples are acknowledged."""
        while True:
            response = await self.read()
            if response.learner_samples >= learner and response.tutor_samples >= tutor:
                return

    async def finish(self, duration_ms: int = 0) -> pb.Recording:
        await self.write(finish=pb.RecordFinish(duration_ms=duration_ms))
        await self.call.done_writing()
        while not (response := await self.read()).HasField("recording"):
            pass
        assert await self.call.read() is grpc.aio.EOF
        return response.recording


@dataclass
class Download:
    """What a download gave."""

    info: pb.DownloadInfo
    data: bytes = field(repr=False)


@dataclass
class Media:
    """The service and who asks it."""

    stub: Any
    callers: Callers
    user_id: str
    data_dir: Path

    async def tape(self, start: pb.RecordStart | None = None) -> Taping:
        start = start or started(self.user_id)
        call = self.stub.Record(metadata=self.callers.service("conversation"))
        taping = Taping(call, start)
        await taping.write(start=start)
        return taping

    async def recorded(self, learner: Samples, tutor: Samples, **start: Any) -> pb.Recording:
        taping = await self.tape(started(self.user_id, **start))
        await taping.audio(LEARNER, learner)
        await taping.audio(TUTOR, tutor)
        return await taping.finish()

    async def ask(self, method: str, request: Any, user_id: str = "") -> Any:
        identity = self.callers.user(user_id or self.user_id)
        return await getattr(self.stub, method)(request, metadata=identity)

    async def get(self, recording_id: str, user_id: str = "") -> pb.Recording:
        request = pb.GetRecordingRequest(recording_id=recording_id)
        response = await self.ask("GetRecording", request, user_id)
        assert isinstance(response, pb.GetRecordingResponse)
        return response.recording

    async def download(self, recording_id: str, user_id: str = "", **wanted: Any) -> Download:
        request = pb.DownloadRecordingRequest(recording_id=recording_id, **wanted)
        identity = self.callers.user(user_id or self.user_id)
        responses = [each async for each in self.stub.DownloadRecording(request, metadata=identity)]
        assert responses[0].HasField("info")
        assert all(0 < len(each.chunk) <= 64 * 1024 for each in responses[1:])
        return Download(responses[0].info, b"".join(each.chunk for each in responses))

    async def refused(self, call: Awaitable[Any]) -> ParleyError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return from_rpc_error(caught.value)

    def files(self, folder: str) -> list[Path]:
        """Return the files below a folder of the service's, which may be deleting some now."""
        found = os.walk(self.data_dir / "media" / folder)
        return [Path(below, name) for below, _, names in found for name in names]

    def folders(self, folder: str) -> list[Path]:
        """Return the folders right below a folder of the service's."""
        root = self.data_dir / "media" / folder
        return list(root.iterdir()) if root.is_dir() else []


Serve = Callable[..., AbstractAsyncContextManager[Media]]


@pytest.fixture
def serve_media(data_dir: Path, callers: Callers, database_settings: dict[str, Any]) -> Serve:
    @asynccontextmanager
    async def serve(limits: Limits = DEFAULT_LIMITS, **settings: Any) -> AsyncIterator[Media]:
        values = {"port": 0, "metrics_port": 0, "sync_seconds": 0.02, "drain_seconds": 0.2}
        loaded = MediaSettings(data_dir=data_dir, **(values | database_settings | settings))
        async with (
            running("media", loaded, bootstrap, limits=limits) as service,
            grpc.aio.insecure_channel(service.address) as channel,
        ):
            yield Media(MediaServiceStub(channel), callers, new_id(), data_dir)

    return serve


@pytest.fixture
async def media(serve_media: Serve) -> AsyncIterator[Media]:
    async with serve_media() as found:
        yield found
