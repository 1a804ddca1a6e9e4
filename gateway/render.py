"""Renders Envoy's configuration.

python -m gateway.render                 writes it to standard output
python -m gateway.render --output FILE   writes it to FILE
python -m gateway.render --check         asks Envoy itself whether it is right

What goes into it is set by `PARLEY_GATEWAY_*`; `docs/settings.md` lists them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError

from gateway.binary import EnvoyMissingError, InvalidConfigurationError, validate
from gateway.pages import (
    APP_PATHS,
    MAX_PAGE_BYTES,
    SECURITY_HEADERS,
    PageTooLargeError,
    authority_page,
    pages,
)
from gateway.replies import REPLIES
from gateway.routes import HEALTH, METHODS, REFLECTION, SERVICES, Route
from gateway.settings import GatewaySettings, is_ip, problems, split_address

AFFINITY_HEADER: Final = "x-parley-affinity"
"""Names the process that holds a session. The client sends back what it was given."""

AFFINITY_PARAMETER: Final = "at"
"""The same for a WebSocket, in its query: a page can set no header there."""

LEAVING_HEADER: Final = "x-envoy-immediate-health-check-fail"
"""With a refusal: the process is going away, and nothing of the call was begun. The gateway asks
another, and sends this one nothing new from now on. The name is Envoy's own."""

PROXIED: Final = " behind a proxy"
"""Behind a client's address where proxies stand in front: it may be this machine's own."""

ALLOW_HEADERS: Final = (
    "authorization",
    "content-type",
    "grpc-timeout",
    "x-grpc-web",
    "x-user-agent",
    "x-request-id",
    "x-parley-client",
    "x-parley-service",
    AFFINITY_HEADER,
)
"""Headers a page of another origin may send."""

EXPOSE_HEADERS: Final = (
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "x-request-id",
    AFFINITY_HEADER,
)
"""Headers a page of another origin may read."""


def render(settings: GatewaySettings) -> str:
    """Return the configuration as YAML.

    Raises:
        PageTooLargeError: a file of the web client is larger than the gateway serves.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        # HTML escaping would damage YAML; every value is written through `tojson` instead.
        autoescape=False,  # noqa: S701
    )
    authority = [authority_page(settings.tls_authority)] if settings.tls_authority else []
    routes = [*METHODS, *HEALTH, *(REFLECTION if settings.reflection else ())]
    return environment.get_template("envoy.yaml.j2").render(
        settings=settings,
        services=SERVICES,
        routes=routes,
        method_names=_method_names(routes),
        replies=REPLIES,
        allow_headers=ALLOW_HEADERS,
        expose_headers=EXPOSE_HEADERS,
        affinity_header=AFFINITY_HEADER,
        affinity_parameter=AFFINITY_PARAMETER,
        leaving_header=LEAVING_HEADER,
        proxied=PROXIED,
        websockets=settings.addresses_of("conversation_websocket"),
        pages=[*authority, *pages(settings.effective_web_dir)],
        app_paths=APP_PATHS,
        security_headers=SECURITY_HEADERS,
        max_page_bytes=MAX_PAGE_BYTES,
        static=_all_ip,
        split_address=split_address,
    )


def _method_names(routes: Iterable[Route]) -> dict[str, list[str]]:
    # Statistics are kept by method only for methods that exist: a stranger cannot fill the
    # memory with names of his own.
    names: dict[str, list[str]] = {}
    for route in routes:
        service, _, method = route.path.removeprefix("/").partition("/")
        methods = names.setdefault(service, [])
        if method not in methods:
            methods.append(method)
    return names


def _all_ip(addresses: Sequence[tuple[str, int]]) -> bool:
    return all(is_ip(host) for host, _ in addresses)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.render",
        description="Render Envoy's configuration from PARLEY_GATEWAY_* settings.",
    )
    parser.add_argument("--output", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--check", action="store_true", help="validate with Envoy, write nothing")
    options = parser.parse_args(arguments)
    try:
        text = render(GatewaySettings())
    except PageTooLargeError as error:
        print(error, file=sys.stderr)
        return 1
    except ValidationError as error:
        print("\n".join(problems(error)), file=sys.stderr)
        return 2
    if options.check:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "envoy.yaml"
            path.write_text(text, "utf-8")
            try:
                validate(path)
            except (EnvoyMissingError, InvalidConfigurationError) as error:
                print(error, file=sys.stderr)
                return 1
        print("The configuration is valid.")
    elif options.output:
        options.output.write_text(text, "utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
