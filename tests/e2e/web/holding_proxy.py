"""A proxy in front of Parley that holds requests back until they are whole, as many do.

An Envoy with the stack's own certificate and one filter more: it buffers. A streamed upload, which
is whole when the talk is over, arrives nowhere; everything else passes.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.administration import AdministrationError, ask
from gateway.binary import envoy_path
from launcher.certificates import Certificates
from tests.ports import free_ports
from tests.sockets import free_socket
from tests.stack import Stack

_READY_WITHIN_S = 20.0
_POLL_S = 0.1
# More than a test says; what is larger would be refused.
_HELD_BYTES = 16 * 1024 * 1024

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_HTTP_OPTIONS = f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"


@contextmanager
def holding_proxy(stack: Stack, folder: Path) -> Iterator[str]:
    """Yield the address (`https://...`) of a proxy before `stack`, which speaks TLS."""
    (port,), admin_socket = free_ports(1), free_socket()
    path, log = folder / "holding.json", folder / "holding.log"
    path.write_text(json.dumps(_configuration(stack, port, admin_socket)), "utf-8")
    command = [str(envoy_path()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--log-level", "warning"], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_ready(admin_socket, process, log)
            yield f"https://localhost:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait_until_ready(admin_socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            ask(admin_socket, "/ready")
        except AdministrationError:
            time.sleep(_POLL_S)
        else:
            return
    raise AssertionError(f"the proxy did not start:\n{log.read_text('utf-8')}")


def _configuration(stack: Stack, port: int, admin_socket: Path) -> dict[str, Any]:
    own = Certificates(stack.folder.tls)
    certificate = {
        "certificate_chain": {"filename": str(own.certificate)},
        "private_key": {"filename": str(own.key)},
    }
    buffering = {
        "@type": f"{_EXTENSIONS}.filters.http.buffer.v3.Buffer",
        "max_request_bytes": _HELD_BYTES,
    }
    manager = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "holding",
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "parley", "timeout": "0s"}}
                    ],
                }
            ]
        },
        "http_filters": [
            {"name": "buffer", "typed_config": buffering},
            {
                "name": "router",
                "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"},
            },
        ],
    }
    return {
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "holding",
                    "address": _at(port),
                    "per_connection_buffer_limit_bytes": _HELD_BYTES,
                    "filter_chains": [
                        {
                            "filters": [{"name": "http", "typed_config": manager}],
                            "transport_socket": _tls("DownstreamTlsContext", [certificate]),
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "parley",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "parley",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": _at(stack.port)}}]}
                        ],
                    },
                    "typed_extension_protocol_options": {
                        _HTTP_OPTIONS.removeprefix("type.googleapis.com/"): {
                            "@type": _HTTP_OPTIONS,
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "transport_socket": _tls("UpstreamTlsContext", []),
                }
            ],
        },
    }


def _at(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _tls(kind: str, certificates: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.{kind}",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": certificates,
            },
        },
    }
