"""Check that the contract broke nothing that a released client relies on (`buf breaking`).

It compares `protos/` with the last release: the newest tag `v*`, or, before the first release,
nothing, since no client exists yet that could break. `PARLEY_BREAKING_AGAINST` names any other
commit to compare with.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Compare; return buf's exit status."""
    base = os.environ.get("PARLEY_BREAKING_AGAINST") or last_release()
    if not base:
        print("    no release yet: the contract is compared with none")
        return 0
    if not git("ls-tree", "--name-only", base, "protos/parley"):
        print(f"    {base} holds no protos: the contract is compared with none")
        return 0
    commit = git("rev-parse", f"{base}^{{commit}}")
    command = ["buf", "breaking", "--against", f".git#ref={commit}"]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"    compared with {base}")
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
