"""The bare server and the gateway in front of it, both answering what Parley answered."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
from google.protobuf import json_format

from bench import ghz_bare
from bench.child_server import NotReadyError, running_child, stop
from bench.ghz_load import CONFIGS, LoadError
from bench.ghz_measure import Target
from gateway.binary import envoy_path
from gateway.render import render
from gateway.settings import GatewaySettings
from launcher.readiness import healthy
from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc
from tests.ports import free_ports
from tests.stack import Stack

TYPED_TURN = CONFIGS / "typed_turn.json"

_READY_TIMEOUT_S = 30.0
_POLL_S = 0.1

Metadata = tuple[tuple[str, str], ...]


async def record(address: str, token: str, refresh_token: str, folder: Path) -> int:
    """Write what Parley answers to the calls of this benchmark, for the bare server.

    Returns:
        How many messages one conversation has, both ways together.
    """
    metadata = (("authorization", f"Bearer {token}"),)
    requests = {
        "GetJwks": user_pb2.GetJwksRequest(),
        "GetProfile": user_pb2.GetProfileRequest(),
        "ListSessions": user_pb2.ListSessionsRequest(),
        "UpdateProfile": user_pb2.UpdateProfileRequest(account=user_pb2.Account(voice="")),
        "Refresh": user_pb2.RefreshRequest(refresh_token=refresh_token),
    }
    async with grpc.aio.insecure_channel(address) as channel:
        user = user_pb2_grpc.UserServiceStub(channel)
        for method in ghz_bare.USER_METHODS:
            answer = await getattr(user, method)(requests[method], metadata=metadata)
            (folder / f"{method}.bin").write_bytes(answer.SerializeToString())
        asked, answered = await _one_conversation(channel, metadata)
    (folder / ghz_bare.CONVERSE).write_bytes(ghz_bare.pack(answered))
    return asked + len(answered)


async def _one_conversation(
    channel: grpc.aio.Channel, metadata: Metadata
) -> tuple[int, Sequence[conversation_pb2.ConverseResponse]]:
    """Hold the typed turn's conversation; return how many were sent, and all that came."""
    stub = conversation_pb2_grpc.ConversationServiceStub(channel)
    call = stub.Converse(metadata=metadata)
    requests = [
        json_format.ParseDict(each, conversation_pb2.ConverseRequest())
        for each in json.loads(TYPED_TURN.read_text("utf-8"))
    ]
    answers: list[conversation_pb2.ConverseResponse] = []
    for request, last in zip(requests, ("started", "turn_saved", "ended"), strict=True):
        await call.write(request)
        while not answers or answers[-1].WhichOneof("message") != last:
            answer = await call.read()
            if not isinstance(answer, conversation_pb2.ConverseResponse):
                raise LoadError(f"Converse ended before {last!r}")
            answers.append(answer)
    await call.done_writing()
    return len(requests), answers


@contextmanager
def running_bare(folder: Path) -> Iterator[Target]:
    """Run the bare server until the block ends.

    Raises:
        LoadError: it did not start.
    """
    command = [sys.executable, "-m", "bench.ghz_bare", str(folder)]
    try:
        # Parley runs in a session of its own as well.
        with running_child(command, _READY_TIMEOUT_S, own_session=True) as server:
            yield Target("bare", f"127.0.0.1:{server.port}", (server.pid,))
    except NotReadyError as error:
        raise LoadError(f"the bare server: {error}") from error


@contextmanager
def running_gateway(bare: Target, stack: Stack, folder: Path) -> Iterator[Target]:
    """Run Parley's gateway, configured as Parley's own is, in front of the bare server.

    Raises:
        LoadError: it did not get ready.
    """
    (port,) = free_ports(1)
    settings = GatewaySettings(
        port=port,
        user_addresses=(bare.address,),
        conversation_addresses=(bare.address,),
        # It checks the same tokens with the same keys.
        jwks_address=f"127.0.0.1:{stack.environment['PARLEY_USER_METRICS_PORT']}",
    )
    config = folder / "bare-envoy.yaml"
    config.write_text(render(settings), "utf-8")
    # As launcher/programs.py starts it.
    command = [str(envoy_path()), "-c", str(config), "--concurrency", str(settings.workers)]
    with (folder / "bare-envoy.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--log-level", "warning", "--disable-hot-restart"],
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            address = f"127.0.0.1:{port}"
            _wait_until_healthy(address)
            yield Target("bare_gateway", address, (*bare.pids, process.pid))
        finally:
            stop(process)


def _wait_until_healthy(address: str) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not all(asyncio.run(healthy(address, name)) for name in ("user", "conversation")):
        if time.monotonic() > deadline:
            raise LoadError("the gateway in front of the bare server did not get ready")
        time.sleep(_POLL_S)
