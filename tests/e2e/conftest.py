"""The whole of Parley for the end-to-end tests, and the `parley` command as a person uses it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.vendors.town import KEYS, SHIPPED, town
from tests.stack import Stack

SPEECH = Path(__file__).parents[1] / "data" / "speech"

# A turn takes a few seconds; a machine that does other things as well takes its time.
_COMMAND_SECONDS = 150.0


@pytest.fixture(scope="session")
def scripted_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parley with scripted models: the real services and gateway, quick and exact."""
    # Passwords cost a millisecond instead of a quarter of a second; other stacks have the real one.
    settings = {"PARLEY_USER_BCRYPT_COST": "4"}
    with Stack(tmp_path_factory.mktemp("s") / "d", settings=settings) as stack:
        yield stack


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parley on the real models of the preset `test`, with stand-ins for providers elsewhere."""
    folder = tmp_path_factory.mktemp("l")
    file = folder / "engines.toml"
    with town() as vendors:
        file.write_text(vendors.engine_file(), encoding="utf-8")
        settings = {
            **KEYS,
            "SSL_CERT_FILE": str(vendors.authority),
            "PARLEY_AI_ENGINES": json.dumps(["local", *SHIPPED]),
            "PARLEY_AI_ENGINES_FILE": str(file),
        }
        with Stack(folder / "d", engine="local", settings=settings) as stack:
            yield stack


@dataclass(frozen=True, slots=True)
class Learner:
    """A person with an account and a terminal of their own."""

    server: str
    home: Path
    username: str
    password: str

    def environment(self) -> dict[str, str]:
        """What the person's shell has; nobody else's sign-in is in it."""
        return {
            **os.environ,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "PARLEY_SERVER": self.server,
            "PARLEY_PASSWORD": self.password,
            "COLUMNS": "120",
        }

    def parley(self, *arguments: str | Path, expect: int = 0) -> str:
        """Run `parley` and return what it printed; fail unless it exits with `expect`."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("parley")), *map(str, arguments)],
            env=self.environment(),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == expect, (
            f"parley {' '.join(map(str, arguments))} exited with {done.returncode}:\n"
            f"{done.stdout}\n{done.stderr}"
        )
        return done.stdout + done.stderr

    def events(self, *arguments: str | Path, expect: int = 0) -> list[dict[str, Any]]:
        """Run a command with `--json` and return its lines."""
        printed = self.parley(*arguments, "--json", expect=expect)
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.fixture
def sign_up(tmp_path: Path) -> Callable[[Stack], Learner]:
    """Return what makes an account with `parley register`."""

    def register(stack: Stack) -> Learner:
        learner = Learner(
            stack.address, tmp_path, f"ana-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        )
        learner.parley("register", learner.username)
        return learner

    return register
