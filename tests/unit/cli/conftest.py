"""A scripted Parley for each test, a home for its sign-in, and recordings to talk from."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from parley_cli.app import app, hoist_globals
from tests.unit.cli.fake_parley import FakeParley, serve

PASSWORD = "correct horse"


@dataclass(frozen=True)
class Outcome:
    """What a command printed and returned."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Parley:
    """A scripted server with a client set up for it."""

    fake: FakeParley
    address: str
    run: Callable[..., Outcome]

    def register(self, name: str = "ana") -> None:
        """Make an account and stay signed in."""
        outcome = self.run("register", name, env={"PARLEY_PASSWORD": PASSWORD})
        assert outcome.code == 0, outcome.err


@pytest.fixture
def fake() -> FakeParley:
    return FakeParley()


@pytest.fixture
def address(fake: FakeParley) -> Iterator[str]:
    server, port = serve(fake, "127.0.0.1:0")
    yield f"127.0.0.1:{port}"
    server.stop(grace=0).wait()


@pytest.fixture
def config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config"
    monkeypatch.setenv("PARLEY_CONFIG_DIR", str(folder))
    return folder


@pytest.fixture
def run(address: str, config_dir: Path) -> Callable[..., Outcome]:
    """Run a command line as `parley` would."""

    def run_command(
        *arguments: str, input: str | None = None, env: dict[str, str] | None = None
    ) -> Outcome:
        environment = {"PARLEY_SERVER": address, "COLUMNS": "120", **(env or {})}
        result = CliRunner().invoke(
            app, hoist_globals(arguments), input=input, env=environment, catch_exceptions=False
        )
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run_command


@pytest.fixture
def parley(fake: FakeParley, address: str, run: Callable[..., Outcome]) -> Parley:
    return Parley(fake, address, run)


WriteWav = Callable[..., Path]


@pytest.fixture
def write_wav(tmp_path: Path) -> WriteWav:
    """Write a WAV: a tone as speech, silence after it."""

    def write(
        name: str = "question.wav",
        *,
        speech_ms: int = 300,
        silence_ms: int = 100,
        rate: int = 16_000,
        channels: int = 1,
    ) -> Path:
        index = np.arange(speech_ms * rate // 1000)
        speech = 8000 * np.sin(2 * np.pi * 300 * index / rate)
        samples = np.concatenate([speech, np.zeros(silence_ms * rate // 1000)]).astype("<i2")
        path = tmp_path / name
        with wave.open(str(path), "wb") as writer:
            writer.setnchannels(channels)
            writer.setsampwidth(2)
            writer.setframerate(rate)
            writer.writeframes(np.repeat(samples, channels).tobytes())
        return path

    return write
