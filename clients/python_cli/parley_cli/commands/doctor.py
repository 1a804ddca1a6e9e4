"""`doctor`: what works, what does not, and what to do about it, as far as a client can see."""

from __future__ import annotations

import importlib
import json
import os
import platform
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import grpc.aio
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from parley_cli.audio.devices import NO_DEVICE_ADVICE, list_devices
from parley_cli.client.credentials import CredentialStore
from parley_cli.client.endpoint import Endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure, ExitCode, refusal_from_error
from parley_cli.state import run, state_of, stdout

# A service that takes longer than this to say anything is not well.
_TIMEOUT_S = 5.0
_PROBE_ID = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        ok: whether it is well; None where it is not needed or could not be looked at.
        found: what was seen.
        advice: what to do; empty where nothing needs doing.
    """

    what: str
    ok: bool | None
    found: str
    advice: str = ""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel="This machine")(doctor)


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Look at the server, your sign-in and this machine, and say what to do.

    Exits with 0 where you can talk, with 4 where the server does not answer, with 1 otherwise. A
    missing microphone fails nothing: recordings and typing work without.

    Examples:
      parley doctor

      parley doctor --server parley.example.org:443 --tls
    """
    state = state_of(context)
    endpoint = state.endpoint()
    findings = [_versions(), *run(_server_findings(state.client())), *_local_findings()]
    if as_json:
        for finding in findings:
            typer.echo(json.dumps(asdict(finding), ensure_ascii=False))
    else:
        _print(findings, endpoint)
    if any(f.what == "server" and f.ok is False for f in findings):
        raise typer.Exit(int(ExitCode.UNREACHABLE))
    if any(f.ok is False for f in findings):
        raise typer.Exit(int(ExitCode.FAILED))


def _versions() -> Finding:
    names = ("parley-cli", "parley-stubs", "grpcio", "protobuf", "miniaudio")
    seen = ", ".join(f"{name} {_version(name)}" for name in names)
    return Finding("versions", True, f"{seen}, Python {platform.python_version()}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


async def _server_findings(parley: ParleyClient) -> list[Finding]:
    reached = await _reached(parley.endpoint)
    if not reached.ok:
        return [reached]
    async with parley as client:
        findings = [reached, await _signed_in(client)]
        metadata: Any = None
        if findings[-1].ok:
            metadata = await client.authorization()
        for name, probe in _probes(client, metadata):
            findings.append(await _service(name, probe, signed_in=metadata is not None))
    return findings


async def _reached(endpoint: Endpoint) -> Finding:
    """Whether something listens there; told apart from a service that is down."""
    begin = time.monotonic()
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=_TIMEOUT_S):
            pass
    except OSError as error:
        return Finding(
            "server",
            False,
            f"{endpoint.target}: {(error.strerror or str(error)).lower()}",
            "Start Parley with `make run`, or name its address with --server or PARLEY_SERVER.",
        )
    took = (time.monotonic() - begin) * 1000
    way = "TLS" if endpoint.tls else "plaintext"
    return Finding("server", True, f"{endpoint.target} answers in {took:.0f} ms ({way})")


async def _signed_in(client: ParleyClient) -> Finding:
    where = f"kept in {CredentialStore().path}"
    if client.credentials is None:
        return Finding(
            "sign-in", False, "nobody is signed in", "`parley login` or `parley register`."
        )
    name = client.credentials.username
    try:
        response: user_pb2.GetProfileResponse = await client.call(
            client.user.GetProfile, user_pb2.GetProfileRequest(), timeout=_TIMEOUT_S
        )
    except CliFailure as failure:
        return Finding("sign-in", False, f"{name}: {failure.message}", failure.advice)
    return Finding("sign-in", True, f"{response.account.username}, {where}")


_Probe = Callable[[], Awaitable[str]]


def _probes(client: ParleyClient, metadata: Any) -> list[tuple[str, _Probe]]:
    def call(method: Any, request: Any) -> Awaitable[Any]:
        pending: Awaitable[Any] = method(request, metadata=metadata, timeout=_TIMEOUT_S)
        return pending

    async def user() -> str:
        await client.user.GetJwks(user_pb2.GetJwksRequest(), timeout=_TIMEOUT_S)
        return "answers"

    async def conversation() -> str:
        found: conversation_pb2.ListScenariosResponse = await call(
            client.conversation.ListScenarios, conversation_pb2.ListScenariosRequest()
        )
        return f"{len(found.scenarios)} situations"

    async def ai() -> str:
        found: ai_pb2.ListEnginesResponse = await call(
            client.ai.ListEngines, ai_pb2.ListEnginesRequest()
        )
        ready = [engine.name for engine in found.engines if engine.available]
        if not ready:
            reasons = "; ".join(e.unavailable_reason for e in found.engines)
            raise CliFailure(
                f"no engine can serve: {reasons}", advice="`parley models fetch` on the server."
            )
        return f"engines ready: {', '.join(ready)}"

    async def history() -> str:
        await call(
            client.history.ListConversations, history_pb2.ListConversationsRequest(page_size=1)
        )
        return "answers"

    async def media() -> str:
        await call(client.media.GetRecording, media_pb2.GetRecordingRequest(recording_id=_PROBE_ID))
        return "answers"

    return [
        ("user", user),
        ("conversation", conversation),
        ("ai", ai),
        ("history", history),
        ("media", media),
    ]


async def _service(name: str, probe: _Probe, *, signed_in: bool) -> Finding:
    what = f"service {name}"
    if not signed_in and name != "user":
        return Finding(what, None, "not looked at: nobody is signed in")
    try:
        return Finding(what, True, await probe())
    except CliFailure as failure:
        return Finding(what, False, failure.message, failure.advice)
    except grpc.aio.AioRpcError as error:
        refusal = refusal_from_error(error)
        if refusal.code is grpc.StatusCode.NOT_FOUND and refusal.reason:
            # It looked and found nothing: that is an answer.
            return Finding(what, True, "answers")
        if refusal.code is grpc.StatusCode.UNIMPLEMENTED:
            return Finding(what, None, "this server has none")
        advice = "Wait until it has started." if refusal.retryable else "See the server's log."
        found = refusal.message or refusal.code.name.lower()
        return Finding(what, False, found, advice)


def _local_findings() -> list[Finding]:
    devices = list_devices()
    findings = []
    for what, names in (
        ("microphone", devices.microphones),
        ("loudspeaker", devices.loudspeakers),
    ):
        if names:
            findings.append(Finding(what, True, ", ".join(names)))
        else:
            advised = any(finding.advice == NO_DEVICE_ADVICE for finding in findings)
            findings.append(Finding(what, None, "none", "" if advised else NO_DEVICE_ADVICE))
    findings.append(_models())
    return findings


def _models() -> Finding:
    """Look at the models folder where the distribution that fills it is installed.

    By name, not by import: this client stands without it, and a server elsewhere brings its own.
    """
    try:
        models = importlib.import_module("parley_models")
    except ImportError:
        return Finding("models", None, "not kept on this machine")
    folder = models.default_models_dir()
    preset = os.environ.get("PARLEY_PRESET", "default")
    try:
        models.ModelStore(folder).require(preset)
    except models.ModelsError as error:
        return Finding("models", None, str(error), "Only needed where the server runs.")
    return Finding("models", True, f"preset {preset} is complete in {folder}")


def _print(findings: list[Finding], endpoint: Endpoint) -> None:
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"Parley at {endpoint.target}")
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("found, and what to do")
    for finding in findings:
        found = Text(finding.found)
        if finding.advice:
            found.append(f"\n→ {finding.advice}", style="" if finding.ok is False else "dim")
        table.add_row(marks[finding.ok], finding.what, found)
    stdout().print(table)
