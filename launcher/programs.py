"""What runs: five services and the gateway, as commands with their environment and ports."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gateway.binary import EnvoyMissingError, envoy_path
from gateway.routes import SERVICES
from gateway.settings import GatewaySettings, is_ip, problems
from launcher.certificates import Certificates
from launcher.errors import LauncherError, WrongSettingsError
from launcher.folder import Folder
from launcher.instances import Instance, instances
from launcher.leftovers import MARK
from launcher.ports import Port
from launcher.service_certificates import ServiceCertificates
from launcher.settings import LauncherSettings
from services.common.peer_tls import PeerTls
from services.common.settings import ServiceSettings, SettingsError, variable_name

GATEWAY: Final = "gateway"
"""The name of the program that is Envoy."""

SPREAD: Final = "conversation"
"""The service that may have several processes."""

_SERVICE_TLS_FIELDS: Final = ("certificate", "key", "authority")

# A service may drain for its `drain_seconds`; closing databases and pools comes after.
_AFTER_DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process.

    address: `host:port` that answers gRPC health checks.
    stop_seconds: time it gets to end when asked to, before it is killed.
    service: the service that it is a process of; empty for the gateway.
    environment: what it has beside what all programs have.
    """

    name: str
    command: tuple[str, ...]
    address: str
    stop_seconds: float
    service: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before anything is started.

    environment: what supervisord, and so every program, is started with.
    certificates: those that this start makes; None where it needs none.
    service_certificates: those for TLS between the programs; None where this start makes none.
    """

    folder: Folder
    settings: LauncherSettings
    gateway: GatewaySettings
    programs: tuple[Program, ...]
    ports: tuple[Port, ...]
    environment: Mapping[str, str]
    needs_models: bool
    certificates: Certificates | None = None
    service_certificates: ServiceCertificates | None = None

    @property
    def service_tls(self) -> PeerTls | None:
        """How the services are reached from here: as by the gateway. None: without TLS."""
        gateway = self.gateway
        certificate, key, authority = (
            gateway.service_tls_certificate,
            gateway.service_tls_key,
            gateway.service_tls_authority,
        )
        if certificate is None or key is None or authority is None:
            return None
        return PeerTls(certificate, key, authority)

    @property
    def address(self) -> str:
        """Where programs on this machine reach Parley."""
        return f"{_near(self.gateway.host)}:{self.gateway.port}"

    @property
    def page(self) -> str:
        """Where a browser on this machine finds Parley."""
        near = _near(self.gateway.host)
        # Certificates are made out to names first, and only localhost may use a microphone.
        host = "localhost" if near in ("127.0.0.1", "[::1]") else near
        return f"{self.scheme}://{host}:{self.gateway.port}"

    @property
    def scheme(self) -> str:
        """`https` where the gateway speaks TLS."""
        return "https" if self.gateway.tls_certificate else "http"

    @property
    def open_to_network(self) -> bool:
        """Whether other machines can reach the gateway."""
        host = self.gateway.host
        return not (host == "localhost" or (is_ip(host) and ip_address(host).is_loopback))

    def program(self, name: str) -> Program:
        """Return the program `name`."""
        return next(each for each in self.programs if each.name == name)


def plan(environment: Mapping[str, str] = os.environ) -> Plan:
    """Work out what to run from `environment`, judging the settings of every service at once.

    Raises:
        WrongSettingsError: listing every wrong setting of every service and of the gateway.
        LauncherError: there is no Envoy.
    """
    settings = LauncherSettings.load(environment)
    folder = Folder(settings.data_dir)
    environment = {
        **environment,
        "PARLEY_DATA_DIR": str(settings.data_dir),
        "PARLEY_MODELS_DIR": str(settings.effective_models_dir),
        "PARLEY_PRESET": settings.preset,
        # Log lines appear when they are written, not when a buffer is full.
        "PYTHONUNBUFFERED": "1",
        MARK: str(settings.data_dir),
    }
    own = "PARLEY_GATEWAY_TLS_CERTIFICATE" in environment
    certificates = Certificates(folder.tls) if settings.tls and not own else None
    between = _service_certificates(settings, folder, environment)
    if between is not None:
        for name in (*SERVICES, GATEWAY):
            environment |= _service_tls_variables(name, between.tls(name))
    services = _service_settings(environment)
    for name, each in services.items():
        # A moved port moves its peers with it.
        if f"{name}_address" in ServiceSettings.model_fields:
            variable = f"PARLEY_{name.upper()}_ADDRESS"
            environment.setdefault(variable, f"{_near(each.host)}:{each.port}")
    processes = tuple(
        each
        for name, service in services.items()
        for each in instances(service, settings.session_processes if name == SPREAD else 1)
    )
    gateway = _gateway_settings(services, processes, certificates, folder, environment)
    # The pages that may call the gateway may open a WebSocket through it.
    environment.setdefault("PARLEY_CONVERSATION_WEB_ORIGINS", json.dumps(gateway.cors_origins))
    envoy = _envoy_program(folder, gateway, environment)
    return Plan(
        folder=folder,
        settings=settings,
        gateway=gateway,
        programs=(*(_service_program(each) for each in processes), envoy),
        ports=(*_gateway_ports(gateway), *(port for each in processes for port in _ports(each))),
        environment=environment,
        needs_models=getattr(services["ai"], "needs_local_models", False),
        certificates=certificates,
        service_certificates=between,
    )


def _service_certificates(
    settings: LauncherSettings, folder: Folder, environment: Mapping[str, str]
) -> ServiceCertificates | None:
    own = variable_name("service_tls_certificate") in environment
    return ServiceCertificates(folder.service_tls) if settings.service_tls and not own else None


def _service_tls_variables(program: str, files: PeerTls) -> dict[str, str]:
    return {
        variable_name(program, "service_tls", each): str(getattr(files, each))
        for each in _SERVICE_TLS_FIELDS
    }


def _service_settings(environment: Mapping[str, str]) -> dict[str, ServiceSettings]:
    loaded: dict[str, ServiceSettings] = {}
    problems: list[str] = []
    for name in SERVICES:
        module = importlib.import_module(f"services.{name}.settings")
        kind: type[ServiceSettings] = getattr(module, f"{name.capitalize()}Settings")
        try:
            loaded[name] = kind.load(environment)
        except SettingsError as error:
            problems.append(str(error))
        else:
            problems += _unset_ports(name, loaded[name])
    if problems:
        raise WrongSettingsError("\n".join(problems))
    return loaded


def _unset_ports(name: str, settings: ServiceSettings) -> list[str]:
    # A free port would be known to the service alone; the others could not find it.
    if settings.port:
        return []
    return [
        f"  - {settings.variable('port')}: must name a port, so that others find the {name} one"
    ]


def _gateway_settings(
    services: Mapping[str, ServiceSettings],
    processes: Sequence[Instance],
    certificates: Certificates | None,
    folder: Folder,
    environment: Mapping[str, str],
) -> GatewaySettings:
    found: dict[str, Any] = {
        f"{name}_addresses": tuple(
            f"{_near(each.settings.host)}:{each.settings.port}"
            for each in processes
            if each.settings.service == name
        )
        for name in services
    }
    found["conversation_websocket_addresses"] = tuple(
        f"{_near(each.settings.host)}:{each.websocket_port}"
        for each in processes
        if each.websocket_port is not None
    )
    if certificates is not None:
        found["tls_certificate"] = certificates.certificate
        found["tls_key"] = certificates.key
        found["tls_authority"] = certificates.authority
    found["admin_socket"] = folder.gateway_socket
    found["jwks_address"] = f"127.0.0.1:{services['user'].effective_metrics_port}"
    for each in _SERVICE_TLS_FIELDS:
        # What all services are told holds for the gateway as well, unless it is told otherwise.
        given = environment.get(variable_name("service_tls", each))
        if given is not None:
            found[f"service_tls_{each}"] = given
    for name in GatewaySettings.model_fields:
        variable = f"PARLEY_GATEWAY_{name.upper()}"
        if variable in environment:
            found[name] = environment[variable]
    try:
        return GatewaySettings(**found)
    except ValidationError as error:
        lines = [f"  - {each}" for each in problems(error)]
        raise WrongSettingsError("Settings of the gateway:\n" + "\n".join(lines)) from error


def _service_program(process: Instance) -> Program:
    settings = process.settings
    return Program(
        name=process.name,
        command=(sys.executable, "-m", f"services.{settings.service}"),
        address=f"{_near(settings.host)}:{settings.port}",
        stop_seconds=settings.drain_seconds + _AFTER_DRAIN_SECONDS,
        service=settings.service,
        environment=process.environment,
    )


def _envoy_program(
    folder: Folder, gateway: GatewaySettings, environment: Mapping[str, str]
) -> Program:
    try:
        envoy = envoy_path(environment)
    except EnvoyMissingError as error:
        raise LauncherError(str(error)) from error
    options = {
        "-c": str(folder.envoy_config),
        "--concurrency": str(gateway.workers),
        "--log-level": "warning",
        # Twice a second until the user service is there, and no harm.
        "--component-log-level": "jwt:error",
        # Access lines appear within a second instead of ten.
        "--file-flush-interval-msec": "1000",
    }
    flat = [part for option in options.items() for part in option]
    return Program(
        name=GATEWAY,
        command=(str(envoy), *flat, "--disable-hot-restart"),
        address=f"{_near(gateway.host)}:{gateway.port}",
        # It ends at once: it was drained through its administration before.
        stop_seconds=_AFTER_DRAIN_SECONDS,
    )


def _gateway_ports(gateway: GatewaySettings) -> tuple[Port, ...]:
    own = Port("the gateway", gateway.host, gateway.port, "PARLEY_GATEWAY_PORT")
    if gateway.metrics_port is None:
        return (own,)
    variable = "PARLEY_GATEWAY_METRICS_PORT"
    return own, Port("metrics of the gateway", "127.0.0.1", gateway.metrics_port, variable)


def _ports(process: Instance) -> tuple[Port, ...]:
    settings, name = process.settings, process.name
    found = [
        Port(f"the {name} service", settings.host, settings.port, settings.variable("port")),
        Port(
            f"metrics of the {name} service",
            "127.0.0.1",
            settings.effective_metrics_port,
            settings.variable("metrics_port"),
        ),
    ]
    if process.websocket_port is not None:
        variable = settings.variable("websocket_port")
        found.append(
            Port(
                f"WebSockets of the {name} service", settings.host, process.websocket_port, variable
            )
        )
    return tuple(found)


def _near(host: str) -> str:
    """Return the address at which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared only


def parley_command() -> str:
    """Return how the `parley` command is typed from here."""
    command = Path(sys.executable).parent / "parley"
    try:
        return str(command.relative_to(Path.cwd()))
    except ValueError:
        return str(command)
