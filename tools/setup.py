"""Set up the virtual environment that every `make` target works in.

    python3 tools/setup.py run          what `make run` needs
    python3 tools/setup.py engines      that, and the clients of providers elsewhere
    python3 tools/setup.py dev          both, and what generating, checking and testing need

It makes `.venv`, installs the locked requirements by hash and our own distributions as editable,
and leaves a stamp, so that the next call ends at once unless a lock file changed. It runs on any
Python 3 with nothing installed, so that it can say what is missing instead of failing to parse.

`PARLEY_PYTHON` names the Python to build the environment with (default: the newest fitting one).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "parley-setup.json"

OLDEST, NEWEST = (3, 11), (3, 14)
"""The Python versions for which the lock files hold wheels."""

LOCKS = {
    "run": ("build", "server", "models", "client"),
    "engines": ("build", "server", "models", "client", "engines"),
    "dev": ("build", "server", "models", "client", "engines", "dev"),
}
"""The lock files in `requirements/` of each set, in the order in which they are installed."""

DISTRIBUTIONS = ("gen/python", "models", ".", "clients/python_cli")
"""The folders of our own distributions, each after those it needs."""

LLAMA = "third_party/llama"
"""The npm lock file of the language model's runtime: shared libraries, one package a platform."""

NEEDED_BYTES = 3 * 2**30
"""What a first set-up writes: about 1.5 GB of packages, and pip's cache and downloads besides."""


NETWORK_SIGNS = ("Connection", "Temporary failure", "timed out", "SSL", "ENOTFOUND", "ECONN")
"""What pip and npm write when they do not reach their registry."""

LABELS = {"editable": "Parley itself (editable)", "llama": "llama.cpp"}
"""What the steps that install no lock file of `requirements/` are called."""


class SetupError(Exception):
    """Set-up cannot go on; the message says why and what to do."""


def main(arguments: list[str]) -> int:
    """Set up the named set; return the exit status."""
    if len(arguments) != 1 or arguments[0] not in LOCKS:
        print("usage: python3 tools/setup.py " + "|".join(LOCKS), file=sys.stderr)
        return 2
    locks = LOCKS[arguments[0]]
    try:
        if read_stamp() and not pending(locks):
            return 0
        VENV.mkdir(exist_ok=True)
        with VENV.joinpath(".setup-lock").open("w") as lock:
            wait_for(lock.fileno())
            set_up(locks)
    except (SetupError, OSError) as error:
        print("\nSet-up stopped. " + str(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSet-up interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def set_up(locks: tuple[str, ...]) -> None:
    """Bring `.venv` up to date with the named lock files and our distributions."""
    started = time.monotonic()
    make_environment()
    steps = pending(locks)
    for number, (name, digest) in enumerate(steps.items(), 1):
        label = LABELS.get(name, "packages of " + name)
        with Step(f"[{number}/{len(steps)}] {label}") as step:
            if name == "editable":
                install_editable(step)
            elif name == "llama":
                install_llama()
            else:
                install_locked(name, step)
        stamp = read_stamp()
        stamp[name] = digest
        write_stamp(stamp)
    if steps:
        print(f"==> set up in {time.monotonic() - started:.0f} s", flush=True)


def pending(locks: tuple[str, ...]) -> dict[str, str]:
    """Return what is not installed as the repository wants it: step name to wanted digest."""
    stamp = read_stamp()
    wanted = {name: digest_of(ROOT / "requirements" / (name + ".txt")) for name in locks}
    wanted["editable"] = digest_of(*(ROOT / folder / "pyproject.toml" for folder in DISTRIBUTIONS))
    wanted["llama"] = digest_of(ROOT / LLAMA / "package-lock.json")
    return {name: digest for name, digest in wanted.items() if stamp.get(name) != digest}


def digest_of(*paths: Path) -> str:
    """Return one SHA-256 over the contents of the files."""
    total = hashlib.sha256()
    for path in paths:
        try:
            total.update(path.read_bytes() + b"\0")
        except FileNotFoundError:
            raise SetupError(f"{path} is missing: is this checkout whole?") from None
    return total.hexdigest()


def read_stamp() -> dict[str, str]:
    """Return what was installed last, empty where that is unknown or the Python is gone."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    asked = os.environ.get("PARLEY_PYTHON", "")
    if not isinstance(stamp, dict) or not PYTHON.exists():
        return {}
    return {} if asked and stamp.get("python") != asked else stamp


def write_stamp(stamp: dict[str, str]) -> None:
    """Write the stamp so that a reader sees the old one or the new one, never a part."""
    stamp["python"] = os.environ.get("PARLEY_PYTHON", stamp.get("python", ""))
    temporary = STAMP.with_suffix(".new")
    temporary.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    temporary.replace(STAMP)


def wait_for(descriptor: int) -> None:
    """Take the set-up lock, which two `make` commands at once would otherwise race for."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("==> another set-up is at work here; waiting for it", flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def make_environment() -> None:
    """Create `.venv`, or create it anew when its Python is gone, too old or not the one asked."""
    if read_stamp() and works(PYTHON):
        return
    usable = works(PYTHON) and not os.environ.get("PARLEY_PYTHON")
    if usable:
        return
    check_disk()
    base = find_python()
    version = "{}.{}".format(*version_of(base))
    with Step(f"virtual environment .venv (Python {version})"):
        for entry in VENV.iterdir():
            if entry.name != ".setup-lock":  # held by this very process
                is_folder = entry.is_dir() and not entry.is_symlink()
                shutil.rmtree(entry) if is_folder else entry.unlink()
        result = subprocess.run(
            [base, "-m", "venv", str(VENV)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if result.returncode != 0:
        hint = ""
        if "ensurepip" in result.stdout:
            hint = (
                "\nThis Python comes without its venv module. On Debian or Ubuntu:"
                f"\n    sudo apt-get install python{version}-venv"
            )
        raise SetupError(f"{base} -m venv failed:\n{result.stdout.strip()}{hint}")


def check_disk() -> None:
    """Refuse to start what the disk cannot hold."""
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES:
        raise SetupError(
            f"It needs {NEEDED_BYTES / 1e9:.1f} GB of disk in {ROOT}, "
            f"and only {free / 1e9:.1f} GB are free."
        )


def find_python() -> str:
    """Return the Python to build the environment with."""
    asked = os.environ.get("PARLEY_PYTHON")
    names = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for candidate in [asked] if asked else [sys.executable, *names, "python3"]:
        path = shutil.which(candidate)
        if path and OLDEST <= version_of(path) <= NEWEST:
            return path
    wanted = "Python {}.{} to {}.{}".format(*OLDEST, *NEWEST)
    if asked:
        raise SetupError(f"PARLEY_PYTHON={asked} is not a {wanted}.")
    raise SetupError(
        "Parley needs {}; none was found (python3 here is {}.{}).\n".format(
            wanted, *sys.version_info[:2]
        )
        + "Install one (Debian, Ubuntu: sudo apt-get install python3 python3-venv; macOS: brew\n"
        "install python), or name it: make setup PARLEY_PYTHON=/path/to/python3"
    )


def version_of(python: str | Path) -> tuple[int, int]:
    """Return a Python's (major, minor), or (0, 0) if it does not run."""
    try:
        answer = subprocess.run(
            [str(python), "-c", "import sys; print(*sys.version_info[:2])"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        ).stdout.split()
        return int(answer[0]), int(answer[1])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return 0, 0


def works(python: Path) -> bool:
    """Tell whether this Python runs, is new enough and has pip."""
    if not OLDEST <= version_of(python) <= NEWEST:
        return False
    probe = [str(python), "-c", "import pip"]
    return subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0


def install_locked(name: str, step: Step) -> None:
    """Install one lock file; every file must have a hash that it lists."""
    lock = ROOT / "requirements" / (name + ".txt")
    step.total = lock.read_text(encoding="utf-8").count("==")
    # The lock file is complete: resolving again could only add what it does not pin.
    pip(step, "install", "--require-hashes", "--no-deps", "-r", str(lock))


def install_editable(step: Step) -> None:
    """Install our own distributions so that they follow the checkout."""
    folders = [argument for folder in DISTRIBUTIONS for argument in ("-e", str(ROOT / folder))]
    pip(step, "install", "--no-deps", "--no-build-isolation", "--no-index", *folders)


def install_llama() -> None:
    """Install the shared libraries of llama.cpp for this platform, with the environment's Python.

    It finds a Node, or installs one from its wheel: npm comes with it.
    """
    result = subprocess.run(
        [str(PYTHON), "-m", "tools.node", LLAMA],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise SetupError(explain("\n".join(result.stdout.strip().splitlines()[-25:])))


def pip(step: Step, *arguments: str) -> None:
    """Run the environment's pip; show its progress, and on failure what it means."""
    environment = dict(os.environ, PIP_USER="0", PIP_NO_INPUT="1", PYTHONNOUSERSITE="1")
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    tail: deque[str] = deque(maxlen=25)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tail.append(line.rstrip())
            word, _, rest = line.strip().partition(" ")
            if word == "Collecting":
                step.advance(rest.split(" ")[0].split("=")[0])
            elif word == "Installing":
                step.say("unpacking")
    if process.returncode != 0:
        raise SetupError(explain("\n".join(tail)))


def explain(output: str) -> str:
    """Return what pip's or npm's last lines mean for the person who reads them."""
    if "No space left on device" in output:
        advice = "The disk is full. Free some space, then run the same command."
    elif "DO NOT MATCH THE HASHES" in output or "EINTEGRITY" in output:
        advice = (
            "A package differs from the one that was locked. Do not install it: a mirror or a\n"
            "proxy may have changed it. If `git status` shows changes in lock files, undo them."
        )
    elif any(sign in output for sign in NETWORK_SIGNS):
        advice = (
            "The package registry could not be reached. Check the network and the settings\n"
            "(`pip config list`, `npm config list`), then run the same command; it goes on where\n"
            "it stopped."
        )
    elif any(sign in output for sign in ("No matching distribution", "Could not find a version")):
        advice = (
            "The package registry has no such version for this Python and machine. Another\n"
            "Python may do: make setup PARLEY_PYTHON=/path/to/python3"
        )
    else:
        advice = "It failed; its last lines are above."
    return f"It said:\n\n{output}\n\n{advice}"


class Step:
    """One step of the set-up on the terminal: what it is, how far it is, how long it took."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.total = 0
        self._done = 0
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()

    def __enter__(self) -> Step:
        print("==> " + self.label, end="" if self._live else "\n", flush=True)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            took = time.monotonic() - self._started
            self.say(f"{took:.0f} s", final=True)
        elif self._live:
            print(flush=True)

    def advance(self, name: str) -> None:
        """Show that the next of `total` things has begun."""
        self._done += 1
        self.say(f"{self._done}/{max(self.total, self._done)} {name}")

    def say(self, text: str, *, final: bool = False) -> None:
        """Show `text` beside the label; a log gets only the final one."""
        if self._live:
            line = f"==> {self.label}: {text}"
            print("\r\033[K" + line, end="\n" if final else "", flush=True)
        elif final:
            print("    done in " + text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
