"""What every command shares: the options before the command's name, and the consoles."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console

from parley_cli.client.credentials import CredentialStore
from parley_cli.client.endpoint import Endpoint, parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class AppState:
    """The global options.

    Attributes:
        server: as typed.
        tls, ca_file, plaintext: how the way there is protected.
        verbose: whether failures show their codes.
    """

    server: str
    tls: bool
    ca_file: Path | None
    plaintext: bool
    verbose: bool

    def endpoint(self) -> Endpoint:
        """The server's address, checked."""
        return parse_endpoint(
            self.server, tls=self.tls, ca_file=self.ca_file, plaintext=self.plaintext
        )

    def client(self) -> ParleyClient:
        """A client with the sign-in kept on this machine."""
        return ParleyClient(self.endpoint(), store=CredentialStore())


def state_of(context: typer.Context) -> AppState:
    """The global options of a command's run."""
    state = context.find_object(AppState)
    if state is None:
        raise RuntimeError("a command runs below the root command only")
    return state


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a command's coroutine to its end."""
    return asyncio.run(work)


def stdout() -> Console:
    """Where results go. Made at each use, so that redirection in tests and pipes is seen."""
    return Console(highlight=False)


def stderr() -> Console:
    """Where failures and remarks go."""
    return Console(stderr=True, highlight=False)


def print_failure(failure: CliFailure, *, verbose: bool) -> None:
    """Tell a failure: what went wrong, what to do, and on request the details."""
    console = stderr()
    console.print(f"[bold red]✗[/] {_escaped(failure.message)}", soft_wrap=True)
    if failure.advice:
        console.print(f"  {_escaped(failure.advice)}", soft_wrap=True)
    if verbose and failure.details:
        for line in failure.details.splitlines():
            console.print(f"  [dim]{_escaped(line)}[/]", soft_wrap=True)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
