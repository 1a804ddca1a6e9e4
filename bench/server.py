"""The Parley that is measured: a fresh one of the benchmark's own, or one that runs already."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from tests.stack import Stack


@dataclass(frozen=True, slots=True)
class Server:
    """Where Parley is, and which models it runs ("as configured" where it ran already)."""

    address: str
    preset: str

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ParleyClient]:
        """Yield a client that is signed in with a new account."""
        async with ParleyClient(parse_endpoint(self.address)) as client:
            name = f"bench-{secrets.token_hex(6)}"
            await client.register(name, secrets.token_urlsafe(24))
            yield client


@contextmanager
def running_server(
    preset: str, address: str = "", settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Yield the server at `address`, or a new one on local models that is stopped at the end."""
    if address:
        yield Server(address, "as configured")
        return
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        wanted = {"PARLEY_PRESET": preset, **(settings or {})}
        with Stack(Path(folder) / "data", engine="local", settings=wanted) as stack:
            yield Server(stack.address, preset)
