"""Check what no language tool looks at: what the committed files as such must not hold.

Lock files name no registry host: which mirror filled them is nobody's business but that
machine's. No file names a path of somebody's machine. No file is larger than `LARGEST_BYTES`,
since a clone carries each one for ever.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LARGEST_BYTES = 2 * 2**20
"""Recordings for tests fit below it; weights and results belong elsewhere."""

ADDRESS = re.compile(r"https?://|git\+ssh://")
DONATIONS = re.compile(r'\s*("(url|funding)": )?"https://[^"]*",?')
"""Where an npm package's authors take donations: in every lock file alike, whoever wrote it.

One address stands behind its key, several stand bare in a list; what a mirror is asked for never
does, since npm writes it as `resolved`.
"""

MACHINE_PATH = re.compile(
    r"(?<![\w.:/$}~-])/(?:root|work|home/(?!user\b)[\w.-]+|Users/(?!you\b)[\w.-]+|farm)/[\w.-]"
)
LOCK_FILES = re.compile(r"(^|/)(requirements/[\w-]+\.txt|package-lock\.json)$")
FORBIDDEN_NAMES = re.compile(r"(^|/)(uv\.lock|poetry\.lock|\.env|[^/]+\.pem)$")


def main() -> int:
    """Print every finding; return 1 if there is one."""
    findings = [finding for name in committed() for finding in check(name)]
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


def committed() -> list[str]:
    """Return the paths of the files that git tracks or is about to."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return sorted(name for name in output.decode().split("\0") if name)


def check(name: str) -> list[str]:
    """Return what is wrong with one file."""
    path = ROOT / name
    if path.is_symlink() or not path.is_file():
        return []
    findings = []
    if FORBIDDEN_NAMES.search(name):
        findings.append(f"{name}: a file of this kind is not committed")
    content = path.read_bytes()
    if len(content) > LARGEST_BYTES:
        findings.append(
            f"{name}: {len(content)} bytes; the largest file allowed has {LARGEST_BYTES}"
        )
    if b"\0" in content[:8192]:
        return findings  # binary
    is_lock = LOCK_FILES.search(name) is not None
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if is_lock and ADDRESS.search(line) and not DONATIONS.fullmatch(line):
            findings.append(f"{name}:{number}: a lock file names an address: {line.strip()[:80]}")
        if MACHINE_PATH.search(line):
            findings.append(f"{name}:{number}: a path of one machine: {line.strip()[:80]}")
    return findings


if __name__ == "__main__":
    sys.exit(main())
