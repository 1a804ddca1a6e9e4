"""Where Parley is, and a channel to it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from parley_cli.failures import CliFailure, ExitCode

DEFAULT_SERVER = "127.0.0.1:8080"
_DEFAULT_PORT = 8080

# The largest message the contract knows is a 64 KiB chunk; a conversation's page of 500 turns with
# words may reach some megabytes.
_MAX_RECEIVE_BYTES = 32 * 1024 * 1024
# Between gRPC's own tries to connect. Its default grows from one second to two minutes, which would
# leave a conversation waiting long after its server is back.
_FIRST_RECONNECT_MS = 250
_SLOWEST_RECONNECT_MS = 2000
# A connection on which nothing came for so long is asked for a sign, also between calls; one that
# gives none is closed, and what went over it fails instead of waiting for ever. Parley takes a ping
# every 10 s. Where the system can tell (Linux), what was sent and not received by the other side
# within the same time ends a connection too. (gRPC waits a minute for a ping unless told otherwise
# under a second name.)
_ASK_AFTER_MS = 15_000
_ANSWER_WITHIN_MS = 5_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address, and how the way to it is protected.

    Attributes:
        host: name or address, without brackets.
        port: TCP port.
        tls: whether to speak TLS.
        ca_file: certificates to trust instead of the system's; None for the system's.
    """

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None

    @property
    def target(self) -> str:
        """`host:port` as gRPC and people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether nothing sent here leaves this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def channel(self) -> grpc.aio.Channel:
        """Open a channel; nothing is sent before the first call.

        Raises:
            CliFailure: the CA file cannot be read.
        """
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", _SLOWEST_RECONNECT_MS),
            ("grpc.keepalive_time_ms", _ASK_AFTER_MS),
            ("grpc.keepalive_timeout_ms", _ANSWER_WITHIN_MS),
            ("grpc.http2.ping_timeout_ms", _ANSWER_WITHIN_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            # Channels to one server would share a connection, also one that is to be replaced.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.loopback:
            # An http_proxy meant for the outside must not catch calls to this machine.
            options.append(("grpc.enable_http_proxy", 0))
        if not self.tls:
            return grpc.aio.insecure_channel(self.target, options=options)
        roots: bytes | None = None
        if self.ca_file is not None:
            try:
                roots = self.ca_file.read_bytes()
            except OSError as error:
                raise CliFailure(
                    f"Cannot read the CA file {self.ca_file}: {error.strerror}.",
                    exit_code=ExitCode.USAGE,
                ) from error
        credentials = grpc.ssl_channel_credentials(root_certificates=roots)
        return grpc.aio.secure_channel(self.target, credentials, options=options)


def parse_endpoint(
    server: str,
    *,
    tls: bool = False,
    ca_file: Path | None = None,
    plaintext: bool = False,
) -> Endpoint:
    """Read `host[:port]`, `[v6]:port`, or an `http(s)://` address.

    Raises:
        CliFailure: it is no address, or it lies outside this machine and is not protected.
    """
    text = server.strip().rstrip("/")
    if text.startswith("https://"):
        text, tls = text.removeprefix("https://"), True
        default_port = 443
    else:
        text = text.removeprefix("http://")
        default_port = _DEFAULT_PORT
    host, port = _split(text, default_port, server)
    endpoint = Endpoint(host, port, tls or ca_file is not None, ca_file)
    if not endpoint.tls and not endpoint.loopback and not plaintext:
        raise CliFailure(
            f"{endpoint.target} is another machine, and the way to it is not encrypted.",
            advice="Add --tls (and --ca FILE for your own certificates), or --plaintext if the "
            "network is protected otherwise.",
            exit_code=ExitCode.USAGE,
        )
    return endpoint


def _split(text: str, default_port: int, original: str) -> tuple[str, int]:
    host, port_text = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port_text = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    if not port_text:
        port_text = str(default_port)
    if not host or not port_text.isdigit() or not 0 < int(port_text) < 65536 or "/" in host:
        raise CliFailure(
            f"'{original}' is not a server address.",
            advice=f"Write it as host:port, for example {DEFAULT_SERVER}.",
            exit_code=ExitCode.USAGE,
        )
    return host, int(port_text)
