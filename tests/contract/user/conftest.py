"""The user service as its callers meet it: a real server, a real channel, a clock moved by hand."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import create_engine, make_url, text

from parley.user.v1 import user_pb2 as pb
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.clock import ManualClock
from services.common.errors import ParleyError
from services.common.lifecycle import Running, running
from services.common.status import from_rpc_error
from services.user.bootstrap import bootstrap
from services.user.settings import UserSettings

PASSWORD = "correct horse"
NEW_PASSWORD = "battery staple"


@dataclass
class Users:
    """The service's stub, with the ways the tests call it."""

    stub: Any
    channel: grpc.aio.Channel
    service: Running
    clock: ManualClock
    settings: UserSettings

    async def register(self, username: str = "Ada", **fields: Any) -> pb.RegisterResponse:
        request = {"password": PASSWORD} | fields
        answer: pb.RegisterResponse = await self.stub.Register(
            pb.RegisterRequest(username=username, **request)
        )
        return answer

    async def refused(self, method: str, request: Any, metadata: Any = ()) -> ParleyError:
        """Return the error that a call must end with."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            call = getattr(self.stub, method)(request, metadata=metadata)
            if hasattr(call, "read"):
                await call.read()
            else:
                await call
        return from_rpc_error(caught.value)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Return what a question to the service's own tables gives."""
        url = make_url(self.settings.database_url)
        engine = create_engine(url.set(drivername=url.drivername.replace("+aiosqlite", "")))
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(statement))]
        finally:
            engine.dispose()


def bearer(tokens: pb.TokenPair) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {tokens.access_token}"),)


@pytest.fixture
def settings(tmp_path: Path, database_settings: dict[str, Any]) -> UserSettings:
    # Cost 4 is the least that bcrypt does: a millisecond.
    return UserSettings(
        data_dir=tmp_path, port=0, metrics_port=0, bcrypt_cost=4, **database_settings
    )


@pytest.fixture
async def users(settings: UserSettings) -> AsyncIterator[Users]:
    clock = ManualClock()
    async with (
        running("user", settings, bootstrap, clock=clock) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        yield Users(UserServiceStub(channel), channel, service, clock, settings)
