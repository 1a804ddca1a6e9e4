"""What a service's bootstrap is given and what it returns.

    @asynccontextmanager
    async def bootstrap(settings: UserSettings, runtime: Runtime) -> AsyncIterator[Application]:
        async with Database.open(settings.database_url) as database:
            servicer = UserServicer(...)
            yield Application(
                services=(GrpcService.of(servicer, add_UserServiceServicer_to_server,
                                         user_pb2.DESCRIPTOR, "UserService",
                                         {"Login": PUBLIC, "GetProfile": USER}),),
                background=(relay.run,),
            )

`services.common.server.run_service("user", UserSettings, bootstrap)` is then all of `__main__`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import grpc.aio
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from services.common.access import Access
from services.common.clock import Clock
from services.common.limits import Limits
from services.common.rates import MakeRates, own_rates
from services.common.settings import ServiceSettings

if TYPE_CHECKING:
    from services.common.auth import AccessTokenVerifier
    from services.common.channel import Peers
    from services.common.interceptors.gate import Gate
    from services.common.interceptors.pace import Pace
    from services.common.metrics import Metrics
    from services.common.redis.connection import Redis
    from services.common.service_identity import ServiceSigner


@dataclass(frozen=True, slots=True)
class GrpcService:
    """One protobuf service: how it is added to a server, and who may call each method."""

    descriptor: ServiceDescriptor
    add_to: Callable[[grpc.aio.Server], None]
    access: Mapping[str, Access]
    message_bytes: Mapping[str, int] = field(default_factory=dict)
    while_draining: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        servicer: Any,
        add_to_server: Callable[[Any, grpc.aio.Server], None],
        file: FileDescriptor,
        name: str,
        access: Mapping[str, Access],
        message_bytes: Mapping[str, int] | None = None,
        while_draining: Iterable[str] = (),
    ) -> Self:
        """Describe `servicer`, which implements the service `name` of the proto `file`.

        Args:
            servicer: the implementation.
            add_to_server: the generated `add_…Servicer_to_server`.
            file: the `DESCRIPTOR` of the generated module.
            name: the service's name in the proto.
            access: who may call, for every method by its short name.
            message_bytes: largest received message, for streaming methods whose limit is not
                `Limits.max_stream_message_bytes`.
            while_draining: methods that are still let in while the service stops, because live
                streams need them.

        Raises:
            ValueError: when `access` does not name exactly the methods of the service.
        """
        descriptor = file.services_by_name[name]
        methods = {method.name for method in descriptor.methods}
        if methods != set(access):
            missing, unknown = methods - set(access), set(access) - methods
            raise ValueError(
                f"{descriptor.full_name}: no access rule for {sorted(missing)}, "
                f"and rules for unknown methods {sorted(unknown)}"
            )
        return cls(
            descriptor,
            lambda server: add_to_server(servicer, server),
            dict(access),
            dict(message_bytes or {}),
            frozenset(while_draining),
        )

    @property
    def full_name(self) -> str:
        """The name with its package, such as `parley.user.v1.UserService`."""
        return str(self.descriptor.full_name)


Background = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Application:
    """What a bootstrap yields.

    services: what the gRPC server serves.
    background: coroutine functions run beside the server for its whole life; they are cancelled
        after the last call ended. One that returns or raises early stops the service.
    warm_up: awaited once the port is open; health says NOT_SERVING, and calls are refused with
        SERVICE_STARTING, until it returns.
    verifier: what verifies access tokens; None: keys from `<data>/keys/jwks.json` or, when that
        is not there, from the user service's GetJwks.
    """

    services: Sequence[GrpcService]
    background: Sequence[Background] = ()
    warm_up: Callable[[], Awaitable[None]] | None = None
    verifier: AccessTokenVerifier | None = None


@dataclass(frozen=True, slots=True)
class Runtime:
    """What every bootstrap is given.

    name: the service's own, such as `conversation`.
    draining: set when the service begins to stop: live streams should say so and end.
    peers: channels to the other services, `peers.channel("history")`.
    signer: this service's own identity.
    gate: what a transport that is no gRPC enters and leaves for each of its calls.
    pace: what it asks how fast they may come.
    redis: a client of the Redis that the settings name; None where they name none.
    rates: makes limits that the service's processes count together, as far as they can.
    """

    name: str
    clock: Clock
    limits: Limits
    draining: asyncio.Event
    peers: Peers
    signer: ServiceSigner
    metrics: Metrics
    gate: Gate
    pace: Pace
    redis: Redis | None = None
    rates: MakeRates = own_rates


S_contra = TypeVar("S_contra", bound=ServiceSettings, contravariant=True)


class Bootstrap(Protocol[S_contra]):
    """An `@asynccontextmanager` function: builds the application, and takes it down after."""

    def __call__(
        self, settings: S_contra, runtime: Runtime, /
    ) -> AbstractAsyncContextManager[Application]:
        """Return the context manager whose value is the application."""
        ...
