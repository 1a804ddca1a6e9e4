"""Accounts for load runs, and the files that carry their secrets to ghz.

    python -m bench.ghz_accounts --server 127.0.0.1:8080 --learners 8 FOLDER

FOLDER gets, readable by its owner alone:

- `metadata.json`: the access tokens for `--metadata-file`. With several learners it is a template
  by which the calls take turns, for a learner may hold only so many conversations at once.
- `login.json`: name and password of the last learner, for `--data-file` of a Login.

Access tokens work for ten minutes (`PARLEY_USER_ACCESS_TOKEN_SECONDS`); make new ones after that.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient

# Every account costs the server a quarter of a second of a core, by design of bcrypt.
_MOST_LEARNERS = 100


@dataclass(frozen=True, slots=True)
class Accounts:
    """The files, and a token for calls that are made without ghz."""

    metadata: Path
    login: Path
    token: str


async def sign_up(server: str, learners: int, folder: Path) -> Accounts:
    """Make accounts with names and passwords that nobody knows, and write the files.

    Raises:
        CliFailure: the server refused, or cannot be reached.
    """
    tokens, login = [], {"username": "", "password": ""}
    async with ParleyClient(parse_endpoint(server)) as client:
        for _ in range(learners):
            login = {
                "username": f"ghz-{secrets.token_hex(6)}",
                "password": secrets.token_urlsafe(24),
            }
            await client.register(login["username"], login["password"])
            tokens.append(await client.access_token())
    accounts = Accounts(folder / "metadata.json", folder / "login.json", tokens[0])
    _write_private(accounts.metadata, json.dumps({"authorization": bearer(tokens)}))
    _write_private(accounts.login, json.dumps(login))
    return accounts


def bearer(tokens: Sequence[str]) -> str:
    """Return the value of `authorization`: one token, or ghz's template that goes round them."""
    if len(tokens) == 1:
        return f"Bearer {tokens[0]}"
    # Backquotes, since the template stands in JSON; a token holds none.
    listed = " ".join(f"`{each}`" for each in tokens)
    return f"Bearer {{{{index (list {listed}) (mod .RequestNumber {len(tokens)})}}}}"


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def main(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")],
    server: Annotated[str, typer.Option(help="host:port of Parley.")] = "127.0.0.1:8080",
    learners: Annotated[int, typer.Option(min=1, max=_MOST_LEARNERS, help="How many.")] = 1,
) -> None:
    """Make accounts for load runs."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    accounts = asyncio.run(sign_up(server, learners, folder))
    typer.echo(f"{accounts.metadata}\n{accounts.login}")


if __name__ == "__main__":
    typer.run(main)
