"""Compile the hash-pinned lock files in `requirements/`.

    python tools/lock.py [--upgrade]

The requirements of our distributions are read from their `pyproject.toml` files, so each is
written down once; `requirements/*.in` hold only what belongs to no distribution. The files that
share the main virtual environment are compiled one after another, each constrained by those
before it, so that they can be installed together. Pins already there are kept unless
`--upgrade` is given.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"

DISTRIBUTIONS = {
    "server": ("gen/python", "models", "."),
    "models": ("gen/python", "models"),
    "client": ("gen/python", "clients/python_cli"),
}
"""The lock files made from our own distributions, and the folders whose requirements they hold."""

EXTRAS = {"engines": "."}
"""The lock files made from all the extras of a distribution, its folder, and an `.in` file."""

SHARED = ("server", "models", "client", "engines", "build", "dev")
"""The lock files of the main virtual environment, in the order in which they constrain."""

ALONE = ("fuzz", "go", "node", "peers")
"""Lock files that are free of the others: each is installed by itself."""

OLDEST_PYTHON = "3.11"


def main() -> int:
    """Compile every lock file; return the first failure's exit status."""
    parser = argparse.ArgumentParser(description="Compile requirements/*.txt.")
    parser.add_argument("--upgrade", action="store_true", help="move every pin to the newest")
    upgrade = parser.parse_args().upgrade
    done: list[str] = []
    for name in (*SHARED, *ALONE):
        constraints = done if name in SHARED else []
        status = compile_lock(name, constraints, upgrade=upgrade)
        if status != 0:
            print(f"requirements/{name}.txt could not be compiled", file=sys.stderr)
            return status
        done.append(name)
    return 0


def compile_lock(name: str, constraints: list[str], *, upgrade: bool) -> int:
    """Compile `requirements/{name}.txt` under the named lock files; return uv's exit status."""
    if name in DISTRIBUTIONS:
        source, text = "-", "\n".join(distribution_requirements(DISTRIBUTIONS[name]))
    elif name in EXTRAS:
        lines = [*extra_requirements(EXTRAS[name]), (REQUIREMENTS / f"{name}.in").read_text()]
        source, text = "-", "\n".join(lines)
    else:
        source, text = f"{name}.in", ""
    command = [sys.executable, "-m", "uv", "pip", "compile", source]
    command += ["--output-file", f"{name}.txt", "--quiet", "--no-config"]
    command += ["--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url"]
    command += ["--fork-strategy", "fewest"]  # one version on every Python, where one exists
    if name in SHARED:
        command += ["--overrides", "overrides.txt"]
    for constraint in constraints:
        command += ["--constraints", f"{constraint}.txt"]
    if upgrade:
        command.append("--upgrade")
    return subprocess.run(command, cwd=REQUIREMENTS, input=text, text=True, check=False).returncode


def distribution_requirements(folders: tuple[str, ...]) -> list[str]:
    """Return what the distributions in `folders` require, less one another."""
    projects = [project_of(folder) for folder in folders]
    own = {project["name"] for project in projects}
    required = {line for project in projects for line in project.get("dependencies", ())}
    return sorted(line for line in required if re.split(r"[\s\[<>=!~;]", line)[0] not in own)


def extra_requirements(folder: str) -> list[str]:
    """Return what the extras of the distribution in `folder` require, all together."""
    extras = project_of(folder).get("optional-dependencies", {})
    return sorted({line for lines in extras.values() for line in lines})


def project_of(folder: str) -> dict[str, Any]:
    """Return the project table of the distribution in `folder`."""
    text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


if __name__ == "__main__":
    sys.exit(main())
