"""Starting and stopping the peer's server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child_server import NotReadyError, running_child
from bench.peers.environment import ROOT, PeersUnavailableError, peers_python

# Loading and warming the models takes about ten seconds on two cores.
_READY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class PipecatOptions:
    """How to run the server. The threads and the context are those that Parley runs with."""

    models_dir: Path | None = None
    preset: str = "default"
    speech_threads: int = 2
    language_model_threads: int = 2
    context_tokens: int = 2048
    script: Path | None = None
    """What instant models follow; None: the real ones."""
    lean: bool = False
    cpu: int | None = None
    """The core it is held to; None: all."""

    def arguments(self) -> list[str]:
        """Return the server's command line."""
        if self.script is not None:
            return [f"--script={self.script}", *(["--lean"] if self.lean else [])]
        return [
            f"--models-dir={self.models_dir}",
            f"--preset={self.preset}",
            f"--speech-threads={self.speech_threads}",
            f"--language-model-threads={self.language_model_threads}",
            f"--context-tokens={self.context_tokens}",
        ]


@dataclass(frozen=True, slots=True)
class PipecatServer:
    """A running server."""

    url: str
    pid: int


@contextmanager
def running_pipecat(options: PipecatOptions) -> Iterator[PipecatServer]:
    """Run the server until the block ends.

    Raises:
        PeersUnavailableError: it cannot be installed, or it did not become ready.
    """
    command = [str(peers_python()), "-m", "bench.peers.pipecat_server", *options.arguments()]
    if options.cpu is not None:
        command = ["taskset", "--cpu-list", str(options.cpu), *command]
    try:
        with running_child(command, _READY_TIMEOUT_S, environment=peers_environment()) as server:
            yield PipecatServer(f"ws://127.0.0.1:{server.port}/ws", server.pid)
    except NotReadyError as error:
        raise PeersUnavailableError(f"Pipecat: {error}") from error


def peers_environment() -> dict[str, str]:
    """Return the environment for the peer's Python: ours, with this repository to import from."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "models")])
    return dict(os.environ, PYTHONPATH=paths, PYTHONUNBUFFERED="1", PYTHONWARNINGS="ignore")
