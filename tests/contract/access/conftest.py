"""All five services in this process, on one set of keys, and every way to come to their doors."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import jwt
import pytest_asyncio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.ai.bootstrap import bootstrap as ai
from services.ai.settings import AiSettings
from services.common.clock import SystemClock
from services.common.errors import ParleyError
from services.common.key_files import load_or_create_private_key
from services.common.lifecycle import running
from services.common.service_identity import ServiceSigner
from services.common.status import from_rpc_error
from services.conversation.bootstrap import bootstrap as conversation
from services.conversation.settings import ConversationSettings
from services.history.bootstrap import bootstrap as history
from services.history.settings import HistorySettings
from services.media.bootstrap import bootstrap as media
from services.media.settings import MediaSettings
from services.user.bootstrap import bootstrap as user
from services.user.settings import UserSettings
from tests.forged_tokens import Genuine
from tests.ports import free_ports

SERVICES: dict[str, ServiceDescriptor] = {
    "user": user_pb2.DESCRIPTOR.services_by_name["UserService"],
    "conversation": conversation_pb2.DESCRIPTOR.services_by_name["ConversationService"],
    "ai": ai_pb2.DESCRIPTOR.services_by_name["AiService"],
    "history": history_pb2.DESCRIPTOR.services_by_name["HistoryService"],
    "media": media_pb2.DESCRIPTOR.services_by_name["MediaService"],
}

Metadata = tuple[tuple[str, str], ...]


def methods() -> list[tuple[str, MethodDescriptor]]:
    """Return every method of the contract with the service that answers it."""
    return [(name, method) for name, service in SERVICES.items() for method in service.methods]


@dataclass
class Doors:
    """The running services, and keys to come in with."""

    data_dir: Path
    channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)
    token: str = ""
    websocket: str = ""
    """The conversation service's WebSocket."""

    @property
    def learner(self) -> Metadata:
        """A signed-in learner's own."""
        return (("authorization", f"Bearer {self.token}"),)

    def service(self, caller: str, callee: str) -> Metadata:
        """What the service `caller` shows to `callee`."""
        signer = ServiceSigner.open(caller, self.data_dir / "keys" / "services", SystemClock())
        return (signer.metadata(callee),)

    def genuine_access(self) -> Genuine:
        """The learner's real token, and the key that signed it."""
        key = load_or_create_private_key(self.data_dir / "keys" / "access" / "current.pem")
        claims = jwt.decode(self.token, options={"verify_signature": False})
        return Genuine(key, jwt.get_unverified_header(self.token), claims, int(time.time()))

    def genuine_service(self, caller: str, callee: str) -> Genuine:
        """A service's real token for another, and the key that signed it."""
        token = self.service(caller, callee)[0][1].removeprefix("Bearer ")
        key = load_or_create_private_key(self.data_dir / "keys" / "services" / f"{caller}.pem")
        claims = jwt.decode(token, options={"verify_signature": False})
        return Genuine(key, jwt.get_unverified_header(token), claims, int(time.time()))

    async def knock(self, callee: str, method: MethodDescriptor, shown: Metadata) -> str:
        """Call `method` with an empty request; return the reason it ends with, empty for none.

        Raises:
            AssertionError: it ended with a status that says nothing documented.
        """
        error = await self.call(callee, method, shown)
        return "" if error is None else error.reason

    async def call(
        self, callee: str, method: MethodDescriptor, shown: Metadata
    ) -> ParleyError | None:
        """Call `method` with an empty request; return what it ends with."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        request = GetMessageClass(method.input_type)()
        kind = f"{'stream' if method.client_streaming else 'unary'}_"
        kind += "stream" if method.server_streaming else "unary"
        build: Any = getattr(self.channels[callee], kind)
        multi = build(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        try:
            if method.client_streaming:
                call = multi(metadata=shown, timeout=20)
                await call.done_writing()
            else:
                call = multi(request, metadata=shown, timeout=20)
            if method.server_streaming:
                while await call.read() is not grpc.aio.EOF:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(tmp_path_factory: Any) -> AsyncIterator[Doors]:
    folder = tmp_path_factory.mktemp("access")
    found = Doors(folder)
    common = {"data_dir": folder, "port": 0, "metrics_port": 0}
    (websocket_port,) = free_ports(1)
    found.websocket = f"ws://127.0.0.1:{websocket_port}/ws"
    async with AsyncExitStack() as stack:
        for name, settings, bootstrap in (
            ("user", UserSettings(bcrypt_cost=4, **common), user),
            ("ai", AiSettings(engines=("scripted",), **common), ai),
            ("history", HistorySettings(**common), history),
            ("media", MediaSettings(**common), media),
            (
                "conversation",
                ConversationSettings(websocket_port=websocket_port, **common),
                conversation,
            ),
        ):
            service = await stack.enter_async_context(running(name, settings, bootstrap))
            channel = grpc.aio.insecure_channel(service.address)
            found.channels[name] = await stack.enter_async_context(channel)
        stub: Any = UserServiceStub(found.channels["user"])
        answer = await stub.Register(
            user_pb2.RegisterRequest(username="ada", password="correct horse")
        )
        found.token = answer.tokens.access_token
        assert json.loads((folder / "keys" / "jwks.json").read_text("utf-8"))["keys"]
        yield found
