"""What stands on the terminal once everything can be used."""

from __future__ import annotations

import shlex

from gateway.pages import AUTHORITY_PATH
from launcher.certificates import Certificates, Host
from launcher.programs import Plan, parley_command


def greeting(chosen: Plan, seconds: float, fingerprint: str = "") -> str:
    """Return it. `fingerprint` is that of the authority which this start made or found."""
    parley = parley_command()
    if chosen.certificates is not None:
        parley = f"{parley} --ca {shlex.quote(str(chosen.certificates.authority))}"
    parts = [
        f"Parley is ready at {chosen.page} after {seconds:.1f} s.",
        f"""Open that page, or in a second terminal:
    {parley} register     make an account, once
    {parley} talk         speak, and be answered""",
    ]
    if chosen.certificates is not None:
        parts.append(_trust(chosen, chosen.certificates, fingerprint))
    if chosen.open_to_network:
        parts.append(_network(chosen))
    parts.append(f"Logs are in {chosen.folder.logs}. Ctrl-C here stops everything.")
    return "\n" + "\n\n".join(parts)


def _trust(chosen: Plan, certificates: Certificates, fingerprint: str) -> str:
    fetched = f"{chosen.page}{AUTHORITY_PATH}"
    if chosen.open_to_network:
        fetched = f"a phone fetches it at {_pages(chosen)[0]}{AUTHORITY_PATH}"
    return f"""Browsers must be told once to trust the authority of this machine's certificate:
    {certificates.authority}
    {fetched}
    Its SHA-256 fingerprint, to compare there:
    {fingerprint}"""


def _network(chosen: Plan) -> str:
    lines = ["Other devices on the network find it at:", *(f"    {p}" for p in _pages(chosen))]
    if chosen.scheme == "http":
        lines.append("    Without TLS their browsers lend no microphone: start with TLS=1.")
    return "\n".join(lines)


def _pages(chosen: Plan) -> list[str]:
    host, port = chosen.gateway.host, chosen.gateway.port
    # Envoy takes both kinds of address at `::`, and only the old kind at `0.0.0.0`.
    everywhere = {"0.0.0.0": (4,), "::": (4, 6)}.get(host)  # noqa: S104 - compared only
    hosts = Host.here().reachable(everywhere) if everywhere else (host,)
    return [f"{chosen.scheme}://{each}:{port}" for each in hosts] or [chosen.page]
