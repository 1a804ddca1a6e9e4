"""A service for the tests of `services.common`: real servers on free ports, in this process.

It stands on the stubs of two real contracts, so that all four kinds of RPC and the rules of real
messages are there; what its methods do is set by each test.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc
from services.common.access import PUBLIC, USER, Access, service
from services.common.auth import TokenVerifier
from services.common.clock import ManualClock
from services.common.lifecycle import Running, running
from services.common.limits import DEFAULT_LIMITS, Limits
from services.common.service import Application, Background, GrpcService, Runtime
from services.common.service_identity import ServiceSigner
from services.common.settings import ServiceSettings

USER_ID = "01900000-0000-7000-8000-000000000001"
SESSION_ID = "01900000-0000-7000-8000-000000000002"


class EchoSettings(ServiceSettings):
    """Free ports, and no wait when the test ends."""

    service: ClassVar[str] = "echo"

    metrics_port: int | None = 0
    drain_seconds: float = 5.0


@dataclass
class Echo:
    """What the test's service does; each method is a stub's handler, replaced at will."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    access: dict[str, Access] = field(default_factory=dict)
    handlers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    background: tuple[Background, ...] = ()
    while_draining: tuple[str, ...] = ()
    warm_up: Callable[[], Awaitable[None]] | None = None
    runtime: Runtime | None = None
    clock: ManualClock = field(default_factory=ManualClock)

    def handle(self, method: str, handler: Callable[..., Any], access: Access = PUBLIC) -> None:
        """Let `handler(request_or_iterator, context)` serve `method`."""
        self.handlers[method] = handler
        self.access[method] = access

    @asynccontextmanager
    async def bootstrap(
        self, _settings: EchoSettings, runtime: Runtime
    ) -> AsyncIterator[Application]:
        self.runtime = runtime

        async def keys() -> dict[str, Any]:
            return {"test": self.key.public_key()}

        yield Application(
            [
                self._service(
                    user_pb2.DESCRIPTOR,
                    "UserService",
                    user_pb2_grpc.UserServiceServicer,
                    user_pb2_grpc.add_UserServiceServicer_to_server,
                ),
                self._service(
                    conversation_pb2.DESCRIPTOR,
                    "ConversationService",
                    conversation_pb2_grpc.ConversationServiceServicer,
                    conversation_pb2_grpc.add_ConversationServiceServicer_to_server,
                ),
            ],
            background=self.background,
            warm_up=self.warm_up,
            verifier=TokenVerifier(keys, self.clock),
        )

    def _service(self, file: Any, name: str, base: type, add: Callable[..., None]) -> GrpcService:
        servicer = base()
        methods = [method.name for method in file.services_by_name[name].methods]
        for method, handler in self.handlers.items():
            if method in methods:
                setattr(servicer, method, handler)
        access = {method: self.access.get(method, PUBLIC) for method in methods}
        draining = [method for method in self.while_draining if method in methods]
        return GrpcService.of(servicer, add, file, name, access, while_draining=draining)

    def token(self, **changes: Any) -> str:
        """Return an access token of the test's user, with claims or headers changed."""
        now = int(self.clock.now().timestamp())
        headers = {"typ": "at+jwt", "kid": "test"} | changes.pop("headers", {})
        claims = {
            "iss": "parley",
            "aud": "parley",
            "sub": USER_ID,
            "sid": SESSION_ID,
            "jti": "token-1",
            "iat": now,
            "exp": now + 600,
        } | changes
        claims = {key: value for key, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers=headers)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def settings(tmp_path: Path) -> EchoSettings:
    return EchoSettings(data_dir=tmp_path)


Serve = Callable[..., AbstractAsyncContextManager[tuple[Running, grpc.aio.Channel]]]


@pytest.fixture
def serve_echo(echo: Echo, settings: EchoSettings) -> Serve:
    """Return a context manager that runs the echo service and connects to it."""

    @asynccontextmanager
    async def serve(
        limits: Limits = DEFAULT_LIMITS,
    ) -> AsyncIterator[tuple[Running, grpc.aio.Channel]]:
        async with (
            running("echo", settings, echo.bootstrap, clock=echo.clock, limits=limits) as service_,
            grpc.aio.insecure_channel(service_.address) as channel,
        ):
            yield service_, channel

    return serve


__all__ = ["SESSION_ID", "USER", "USER_ID", "Echo", "EchoSettings", "ServiceSigner", "service"]
