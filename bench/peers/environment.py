"""The virtual environment of the peer, made when a benchmark first needs it.

    python -m bench.peers.environment

It holds what `requirements/peers.txt` locks, every file by its hash, and leaves a stamp, so that
the next call ends at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-peers"
LOCK = ROOT / "requirements" / "peers.txt"
_PYTHON = FOLDER / "bin" / "python"
_STAMP = FOLDER / "peers-setup.sha256"


class PeersUnavailableError(Exception):
    """The peer cannot be installed here; the message says why."""


def peers_python() -> Path:
    """Return the Python that has the peer, installing it first where that was not done.

    Raises:
        PeersUnavailableError: pip failed; nothing is stamped, so the next call tries again.
    """
    if _is_installed():
        return _PYTHON
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / ".setup-lock").open("w") as lock:
        # Two benchmarks at once: the second waits and then finds it done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_installed():
            _install()
    return _PYTHON


def _is_installed() -> bool:
    try:
        return _STAMP.read_text("ascii") == _wanted() and _PYTHON.exists()
    except OSError:
        return False


def _wanted() -> str:
    """Return what the stamp of an environment with these locks and this Python says."""
    version = "{}.{}.{}".format(*sys.version_info[:3])
    return hashlib.sha256(LOCK.read_bytes() + version.encode()).hexdigest()


def _install() -> None:
    print("==> installing the peer into .venv-peers (about 700 MB)", flush=True)
    started = time.monotonic()
    _STAMP.unlink(missing_ok=True)
    _run(sys.executable, "-m", "venv", str(FOLDER))
    # The lock is complete: resolving again could only add what it does not pin.
    pip = (str(_PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    _run(*pip, "--require-hashes", "--no-deps", "-r", str(LOCK))
    _STAMP.write_text(_wanted(), "ascii")
    print(f"    done in {time.monotonic() - started:.0f} s", flush=True)


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-20:])
        raise PeersUnavailableError(f"{' '.join(command[1:4])} failed:\n{tail}")


if __name__ == "__main__":
    try:
        print(peers_python())
    except PeersUnavailableError as error:
        sys.exit(str(error))
