"""Check that every npm package in a lock file has a licence that Parley can live with.

npm writes each package's licence into the lock file, so nothing has to be installed for it. What
ships in the page must be permissive; a tool that stays on the developer's machine may be weakly
copyleft as well.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BlueOak-1.0.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "OFL-1.1",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    }
)
TOOLS_ONLY = frozenset({"CC-BY-4.0", "MPL-2.0"})
"""Of data and of tools that are never passed on with Parley."""


def main() -> int:
    """Print every package whose licence does not do; return 1 if there is one."""
    findings = [
        f"{lock.relative_to(ROOT)}: {finding}"
        for lock in lock_files()
        for finding in unfit(json.loads(lock.read_text(encoding="utf-8")))
    ]
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


def lock_files() -> list[Path]:
    """Return the npm lock files that git tracks or is about to."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    names = sorted(name for name in output.decode().split("\0") if name)
    return [ROOT / name for name in names if name.endswith("package-lock.json")]


def unfit(lock: dict[str, Any]) -> list[str]:
    """Return a line for each package of a lock file that has no licence that does."""
    findings = []
    for path, package in lock["packages"].items():
        if not path or package.get("link"):
            continue  # our own
        allowed = PERMISSIVE | TOOLS_ONLY if package.get("dev") else PERMISSIVE
        licence = package.get("license", "")
        if not fits(licence, allowed):
            name = path.rpartition("node_modules/")[2]
            findings.append(f"{name} {package.get('version')}: {licence or 'no licence named'}")
    return findings


def fits(expression: str, allowed: frozenset[str]) -> bool:
    """Tell whether an SPDX expression can be met with licences of `allowed` alone.

    Understands names joined by OR and AND, AND binding closer, which is all that npm packages use.
    """
    ways = re.split(r"\s+OR\s+", expression.strip("() "))
    return any(
        all(name.strip("() ") in allowed for name in re.split(r"\s+AND\s+", way)) for way in ways
    )


if __name__ == "__main__":
    sys.exit(main())
