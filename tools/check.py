"""Run every check that reads the code, and say at the end which failed.

    python tools/check.py [name ...]

The names are those of `CHECKS`; without any, all run. A failing check does not stop the others:
one run shows everything there is to mend.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

DISTRIBUTIONS = (".", "models", "clients/python_cli")
"""The distributions whose imports and requirements must agree."""

OWN_MODULES = "parley-stubs=parley|buf,parley-models=parley_models,parley-cli=parley_cli"
"""What our own distributions provide; deptry cannot tell from an editable install."""

Command = tuple[str, list[str]]
"""A command and the folder, below the root, that it runs in."""


def commands() -> dict[str, list[Command]]:
    """Return the commands of each check, by its name, in the order in which they run."""
    python = sys.executable
    deptry = ["deptry", ".", "--package-module-name-map", OWN_MODULES]
    return {
        "tree": [
            (".", [python, "tools/check_tree.py"]),
            (".", [python, "tools/check_licences.py"]),
        ],
        "format": [
            (".", ["ruff", "format", "--check", "."]),
            (".", ["buf", "format", "protos", "--diff", "--exit-code"]),
        ],
        "lint": [(".", ["ruff", "check", "."])],
        "types": [(".", ["mypy", "."])],
        "imports": [(".", ["lint-imports", "--no-cache"])],
        "dependencies": [(folder, deptry) for folder in DISTRIBUTIONS],
        "protos": [(".", ["buf", "lint"]), (".", [python, "tools/check_breaking.py"])],
        "stubs": [(".", [python, "tools/generate_stubs.py", "--check"])],
        "docs": [
            (".", [python, "tools/generate_settings_docs.py", "--check"]),
            (".", [python, "-m", "tools.generate_schema_docs", "--check"]),
            (".", [python, "-m", "tools.generate_api_docs", "--check"]),
        ],
        "web": [
            (".", [python, "-m", "tools.web", "check"]),
            (".", [python, "-m", "tools.web", "size"]),
        ],
    }


def main(names: list[str]) -> int:
    """Run the named checks, or all; return 1 if one failed."""
    checks = commands()
    unknown = [name for name in names if name not in checks]
    if unknown:
        print(f"no such check: {', '.join(unknown)}; there are: {', '.join(checks)}")
        return 2
    tools = str(Path(sys.executable).parent)
    environment = dict(os.environ, PATH=os.pathsep.join([tools, os.environ.get("PATH", "")]))
    failed = []
    for name in names or checks:
        started = time.monotonic()
        print(f"==> {name}", flush=True)
        passed = True
        for folder, command in checks[name]:
            result = subprocess.run(
                command,
                cwd=ROOT / folder,
                env=environment,
                check=False,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            if result.returncode != 0:
                passed = False
                print(f"$ {' '.join(command)}\n{result.stdout}", flush=True)
            elif command[0] == sys.executable:
                print(result.stdout, end="", flush=True)  # our own tools speak only to be heard
        if not passed:
            failed.append(name)
        verdict = "passed" if passed else "FAILED"
        print(f"    {verdict} in {time.monotonic() - started:.1f} s", flush=True)
    if failed:
        print(f"\nFailed: {', '.join(failed)}. Run one alone: make check ARGS={failed[0]}")
        return 1
    print("\nAll checks passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
