"""Waiting until everything can be used, judged by the programs' own health."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway import administration
from gateway.administration import AdministrationError
from launcher.errors import NotReadyError
from launcher.programs import GATEWAY, Plan, Program
from launcher.supervision import START_ATTEMPTS, State, Status, Supervision
from services.common.peer_tls import PeerTls, target_options

_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))

_POLL_SECONDS = 0.1
# A starting service answers at once that it is not ready; longer means that it is very busy.
_CHECK_SECONDS = 2.0
_TAIL_LINES = 20
_TAIL_BYTES = 16_384

_FINAL_EXITS = {
    2: "its settings are wrong",
    3: "it cannot have a port",
}
"""What the services' exit codes 2 and 3 mean: starting them again cannot help."""


class Phase(StrEnum):
    """How far a program is."""

    WAITING = "waiting"
    STARTING = "starting"
    RESTARTING = "starting again"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one program is, and for how long. `seconds` stands still once it is ready."""

    phase: Phase = Phase.WAITING
    seconds: float = 0.0


Show = Callable[[Mapping[str, Progress]], None]
"""Called whenever there is something new to show."""


async def healthy(address: str, service: str | None = None, authority: Path | None = None) -> bool:
    """Tell whether what listens at `address` says that it serves.

    Args:
        address: `host:port`.
        service: asked for through the gateway; None asks the listener itself.
        authority: PEM certificate of who signed the listener's, where that speaks TLS.
    """
    metadata = (("x-parley-service", service),) if service else ()
    return await _serving(_channel(address, authority), metadata)


async def service_healthy(address: str, service: str, tls: PeerTls | None) -> bool:
    """Tell whether the process of `service` at `address` says that it serves.

    Raises:
        KeyFileError: the files of `tls` cannot be used.
    """
    if tls is None:
        return await healthy(address)
    options = [*_OPTIONS, *target_options(service)]
    credentials = tls.channel_credentials()
    return await _serving(grpc.aio.secure_channel(address, credentials, options=options))


async def _serving(opened: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> bool:
    async with opened as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(
                health_pb2.HealthCheckRequest(), timeout=_CHECK_SECONDS, metadata=metadata
            )
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(address: str, authority: Path | None) -> grpc.aio.Channel:
    if authority is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    # Whatever the address is, the certificate is made out to this name as well.
    named = [*_OPTIONS, ("grpc.ssl_target_name_override", "localhost")]
    return grpc.aio.secure_channel(address, credentials, options=named)


async def wait_until_ready(plan: Plan, supervision: Supervision, show: Show) -> None:
    """Return when every service serves and all of them can be reached through the gateway.

    Raises:
        NotReadyError: one gave up, or the time is over; the message ends with its log.
    """
    started = time.monotonic()
    progress = {each.name: Progress() for each in plan.programs}
    try:
        async with asyncio.timeout(plan.settings.ready_seconds):
            while any(each.phase is not Phase.READY for each in progress.values()):
                _judge(plan, supervision, statuses := await supervision.statuses())
                seconds = time.monotonic() - started
                for program in plan.programs:
                    if progress[program.name].phase is Phase.READY:
                        continue
                    phase = await _phase(plan, program, statuses.get(program.name), progress)
                    progress[program.name] = Progress(phase, seconds)
                show(progress)
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        late = [name for name, each in progress.items() if each.phase is not Phase.READY]
        raise NotReadyError(_too_late(plan, late)) from error
    except NotReadyError:
        for name, each in progress.items():
            if each.phase is not Phase.READY:
                progress[name] = replace(each, phase=Phase.FAILED)
        show(progress)
        raise


async def _phase(
    plan: Plan, program: Program, status: Status | None, progress: Mapping[str, Progress]
) -> Phase:
    if status is None:
        return Phase.WAITING
    if status.state in (State.BACKOFF, State.EXITED):
        return Phase.RESTARTING
    if status.state not in (State.STARTING, State.RUNNING):
        return Phase.WAITING
    if program.name == GATEWAY:
        behind = [name for name in progress if name != GATEWAY]
        if any(progress[name].phase is not Phase.READY for name in behind):
            return Phase.STARTING
        return Phase.READY if await _reached(plan, program) else Phase.STARTING
    up = await service_healthy(program.address, program.service, plan.service_tls)
    return Phase.READY if up else Phase.STARTING


async def _reached(plan: Plan, gateway: Program) -> bool:
    """Tell whether every service can be reached through the gateway."""
    if plan.gateway.tls_certificate is not None and plan.certificates is None:
        # A certificate that somebody else made, for a name that we may not have here: what can be
        # known is that Envoy took it.
        return await asyncio.to_thread(_accepts, plan.gateway.admin_socket)
    authority = plan.certificates.authority if plan.certificates else None
    services = {each.service or each.name for each in plan.programs if each is not gateway}
    asked = (healthy(gateway.address, name, authority) for name in services)
    if not all(await asyncio.gather(*asked)):
        return False
    return await asyncio.to_thread(_takes_websockets, gateway.address, authority)


def _takes_websockets(address: str, authority: Path | None) -> bool:
    """Tell whether the gateway has found who takes WebSockets: it says then what a GET lacks."""
    url, context = f"http://{address}/ws", None
    if authority is not None:
        url = f"https://{address}/ws"
        context = ssl.create_default_context(cafile=authority)
    try:
        urlopen(url, timeout=_CHECK_SECONDS, context=context).close()  # noqa: S310 - it is HTTP
    except HTTPError as error:
        error.close()
        return error.code == HTTPStatus.UPGRADE_REQUIRED
    except OSError:
        return False
    return False


def _accepts(admin_socket: Path | None) -> bool:
    if admin_socket is None:
        return False
    try:
        administration.ask(admin_socket, "/ready", seconds=_CHECK_SECONDS)
    except AdministrationError:
        return False
    return True


def _judge(plan: Plan, supervision: Supervision, statuses: Mapping[str, Status]) -> None:
    """Raise when waiting longer cannot help."""
    if supervision.exit_code is not None:
        tail = tail_of(plan.folder.log("supervisord-output"))
        raise NotReadyError(f"supervisord ended with status {supervision.exit_code}.\n{tail}")
    ends = supervision.ends()
    for name, status in statuses.items():
        ended = ends.get(name, [])
        if not ended or status.state is State.RUNNING:
            continue
        if name != GATEWAY and ended[-1] in _FINAL_EXITS:
            raise NotReadyError(_failed(plan, name, f"does not start: {_FINAL_EXITS[ended[-1]]}"))
        if status.state is State.FATAL or len(ended) > START_ATTEMPTS:
            raise NotReadyError(_failed(plan, name, "does not start: it ends again and again"))


def _too_late(plan: Plan, late: list[str]) -> str:
    # The gateway waits for the services: what it lacks is told by them.
    causes = [name for name in late if name != GATEWAY] or late
    names = " and ".join(causes)
    return _failed(
        plan,
        causes[0],
        f"is not ready after {plan.settings.ready_seconds:g} s (still waiting for: {names}). "
        "PARLEY_READY_SECONDS sets this time",
    )


def _failed(plan: Plan, name: str, why: str) -> str:
    log = plan.folder.log(name)
    what = "gateway" if name == GATEWAY else f"{name} service"
    return f"The {what} {why}.\nThe end of {log}:\n\n{tail_of(log)}"


def tail_of(log: Path) -> str:
    """Return the last lines of a log, indented; a word instead when there are none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        lines = []
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:]) or "    (it is empty)"
