"""Check that the contract broke nothing that a released client relies on (`buf breaking`).

It compares `protos/` with the newest release tag `v*` that this commit descends from. Before the
first release no client exists that could break: then it compares with `origin/main`, where there
is one, and only tells. `PARLEY_BREAKING_AGAINST` names any other commit to compare with.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Compare; return buf's exit status."""
    asked = os.environ.get("PARLEY_BREAKING_AGAINST") or last_release()
    base = asked or "origin/main"
    if not git("ls-tree", "--name-only", base, "protos/parley"):
        print("    no earlier commit with protos here: the contract is compared with none")
        return 0
    commit = git("rev-parse", f"{base}^{{commit}}")
    command = ["buf", "breaking", "protos", "--against", f".git#ref={commit},subdir=protos"]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"    compared with {base}")
    if status != 0 and not asked:
        print("    nothing is released yet, so this is allowed")
        return 0
    return status


def last_release() -> str:
    """Return the newest release tag that this commit descends from, or nothing."""
    return git("describe", "--tags", "--abbrev=0", "--match", "v*")


def git(*arguments: str) -> str:
    """Return what a git command prints, or nothing if it fails."""
    result = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return result.stdout.strip() if result.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
