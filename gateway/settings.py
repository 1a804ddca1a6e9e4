"""What the gateway can be told, from `PARLEY_GATEWAY_*`."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# Where `make web` puts the built web client.
_WEB_DIR = Path(__file__).parent.parent / "clients" / "web" / "dist"


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of `host:port`; an IPv6 host stands in brackets.

    Raises:
        ValueError: it is not such an address.
    """
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"{address!r} is not host:port")
    return host, int(port)


def is_ip(host: str) -> bool:
    """Tell whether `host` is an address rather than a name to be resolved."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _checked_address(address: str) -> str:
    split_address(address)
    return address


Addresses = Annotated[
    tuple[Annotated[str, AfterValidator(_checked_address)], ...], NoDecode, Field(min_length=1)
]
"""One or more `host:port`; in the environment a JSON list, or simply with commas between."""


def problems(error: ValidationError) -> list[str]:
    """Return what is wrong with the settings, each with its variable; `*` where it is several."""
    return [
        f"PARLEY_GATEWAY_{str(each['loc'][0]).upper() if each['loc'] else '*'}: {each['msg']}"
        for each in error.errors()
    ]


class GatewaySettings(BaseSettings):
    """What the configuration is rendered from."""

    model_config = SettingsConfigDict(env_prefix="PARLEY_GATEWAY_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(8080, ge=1, le=65535, description="The one port of Parley.")
    admin_socket: Path | None = Field(
        None,
        description="Unix socket of Envoy's own administration, of at most 103 bytes, in a folder "
        "of its owner alone: whoever reaches it can stop the gateway. `make run` has it in `run` "
        "of the data folder; unset elsewhere: there is none.",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on 127.0.0.1 where GET /metrics gives the gateway's metrics, and nothing "
        "else of its administration, which must be there; unset: none.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Envoy's worker threads. One carries thousands of live sessions; the cores "
        "are for the models.",
    )

    user_addresses: Addresses = Field(("127.0.0.1:50051",), description="The user service.")
    conversation_addresses: Addresses = Field(
        ("127.0.0.1:50052",), description="The conversation service."
    )
    ai_addresses: Addresses = Field(("127.0.0.1:50053",), description="The ai service.")
    history_addresses: Addresses = Field(("127.0.0.1:50054",), description="The history service.")
    media_addresses: Addresses = Field(("127.0.0.1:50055",), description="The media service.")
    conversation_websocket_addresses: Addresses = Field(
        ("127.0.0.1:52052",), description="Where the conversation service takes WebSockets."
    )
    jwks_address: Annotated[str, AfterValidator(_checked_address)] = Field(
        "127.0.0.1:51051",
        description="Where GET /jwks.json gives the keys that verify access tokens: the user "
        "service's metrics port. That is plain HTTP on 127.0.0.1 alone: a gateway on another "
        "machine reaches it through a tunnel, or a TLS proxy on each side.",
    )
    jwks_refresh_seconds: int = Field(
        60,
        ge=1,
        le=86_400,
        description="How long the keys are used before they are fetched again. A new key must "
        "be published for longer than this before it signs.",
    )

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Web origins, separated by commas, whose pages may call Parley, with the "
        "learner's cookie; * means all, without it. The page that the gateway serves needs none.",
    )
    web_dir: Path | None = Field(
        None,
        description="Folder of the built web client, which is served at / and read when the "
        "gateway starts; unset: clients/web/dist beside the code.",
    )
    reflection: bool = Field(
        False, description="Whether gRPC reflection is answered from outside (for grpcurl)."
    )
    tls_certificate: Path | None = Field(
        None, description="PEM certificate chain; with tls_key the port speaks TLS only."
    )
    tls_key: Path | None = Field(None, description="PEM key of tls_certificate.")
    tls_authority: Path | None = Field(
        None,
        description="PEM certificate of the authority behind tls_certificate, where devices must "
        "be told to trust it; it can be fetched at /parley-ca.crt.",
    )

    hsts_seconds: int = Field(
        0,
        ge=0,
        le=63_072_000,
        description="For how long browsers are told to come over TLS alone "
        "(strict-transport-security), for a public certificate, here or at a proxy in front; 0: "
        "not at all. Not with tls_authority: who loses that would be locked out.",
    )
    trusted_hops: int = Field(
        0,
        ge=0,
        le=10,
        description="Proxies in front of the gateway, each of which adds its client's address to "
        "x-forwarded-for. A client's address is then what the outermost of them saw, and calls "
        "from this machine are limited as well. Nobody else may reach the port.",
    )

    service_tls_certificate: Path | None = Field(
        None,
        description="PEM certificate chain that the gateway shows to the services; with the two "
        "below it speaks TLS with them, and takes only a service that bears its name "
        "`<service>.parley.internal`.",
    )
    service_tls_key: Path | None = Field(None, description="PEM key of service_tls_certificate.")
    service_tls_authority: Path | None = Field(
        None, description="PEM certificates of the authority that signed the services'."
    )

    unary_timeout_seconds: float = Field(
        30,
        gt=0,
        description="Longest unary call, whatever deadline its client set; above the services' "
        "own limits, so that it is theirs that speak.",
    )
    stream_idle_seconds: float = Field(
        330,
        gt=0,
        description="A stream on which nothing moved for this long is cut: just above the "
        "conversation's own idle limit, whose answer explains itself.",
    )
    stream_max_seconds: float = Field(
        7_500,
        gt=0,
        description="Longest stream: just above the longest conversation.",
    )
    max_streams: int = Field(
        2_000,
        ge=1,
        description="Calls in progress to one service; more are refused at once. As many as a "
        "service takes. Calls that need no token have a quarter of it, beside those that do.",
    )
    slow_client_seconds: float = Field(
        10,
        gt=0,
        description="How long a client may take for each of: its first bytes, the handshake of "
        "TLS, the headers of a request.",
    )
    connection_idle_seconds: float = Field(
        300,
        gt=0,
        description="A connection without a call is closed after this long; clients open another "
        "with their next call.",
    )
    max_connections: int = Field(
        10_000, ge=1, description="Connections from outside; more are closed at once."
    )

    max_heap_mib: int = Field(
        1_024,
        ge=64,
        description="Memory in MiB that Envoy may allocate; from 95 % of it on new calls are "
        "refused. A thousand live sessions take a tenth of the default.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _split_lists(cls, value: Any, info: Any) -> Any:
        listed = info.field_name.endswith("_addresses") or info.field_name == "cors_origins"
        if listed and isinstance(value, str):
            if value.lstrip().startswith("["):
                return json.loads(value)
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are set together or not at all")
        given = (self.service_tls_certificate, self.service_tls_key, self.service_tls_authority)
        if any(given) and not all(given):
            raise ValueError(
                "service_tls_certificate, service_tls_key and service_tls_authority are set "
                "together or not at all"
            )
        if self.metrics_port is not None and self.admin_socket is None:
            raise ValueError("metrics_port is answered by administration: set admin_socket as well")
        if self.hsts_seconds and self.tls_authority is not None:
            raise ValueError(
                "hsts_seconds is for a certificate that browsers trust by themselves: it cannot "
                "be set together with tls_authority"
            )
        return self

    @property
    def effective_web_dir(self) -> Path:
        """The folder of the web client with its default worked out."""
        return self.web_dir or _WEB_DIR

    @property
    def max_open_streams(self) -> int:
        """Calls in progress to one service that need no token."""
        return max(1, self.max_streams // 4)

    def addresses_of(self, service: str) -> tuple[tuple[str, int], ...]:
        """Return where `service` is: hosts and ports."""
        addresses: tuple[str, ...] = getattr(self, f"{service}_addresses")
        return tuple(split_address(each) for each in addresses)
