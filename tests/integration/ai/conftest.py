"""The whole ai service in this process, on scripted engines, called over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from parley.ai.v1 import ai_pb2_grpc
from services.ai.bootstrap import bootstrap
from services.ai.settings import AiSettings
from services.common.clock import SystemClock
from services.common.lifecycle import running
from services.common.service_identity import ServiceSigner
from tests.integration.ai.messages import Start


@pytest.fixture
def ai(tmp_path: Path) -> Start:
    """Return a context manager that runs the service and yields a stub of the conversation's."""

    @asynccontextmanager
    async def run(**settings: object) -> AsyncIterator[ai_pb2_grpc.AiServiceAsyncStub]:
        wanted = {"engines": ("scripted", "scripted-pipeline"), "port": 0, "metrics_port": 0}
        chosen = AiSettings(data_dir=tmp_path, **(wanted | settings))
        signer = ServiceSigner.open("conversation", chosen.keys_dir / "services", SystemClock())
        async with running("ai", chosen, bootstrap) as service:
            channel = grpc.aio.insecure_channel(service.address)
            try:
                yield _signing(ai_pb2_grpc.AiServiceStub(channel), signer)
            finally:
                await channel.close()

    return run


def _signing(
    stub: ai_pb2_grpc.AiServiceAsyncStub, signer: ServiceSigner
) -> ai_pb2_grpc.AiServiceAsyncStub:
    class Signing:
        def __getattr__(self, method: str) -> Callable[..., object]:
            call = getattr(stub, method)
            return lambda *args, **kwargs: call(
                *args, metadata=[signer.metadata("ai")], timeout=30, **kwargs
            )

    return Signing()  # type: ignore[return-value]
