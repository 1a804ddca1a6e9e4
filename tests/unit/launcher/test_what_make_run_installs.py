"""What `make run` installs is enough to start: nothing imports what only developers have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.setup import LOCKS

ROOT = Path(__file__).parents[3]

STARTED = (
    "launcher.__main__",
    "parley_cli.app",
    "parley_models",
    "admin",
    *(
        f"services.{name}.bootstrap"
        for name in ("user", "conversation", "ai", "history", "media", "gateway")
        if (ROOT / "services" / name / "bootstrap.py").exists()
    ),
)

# Hides every package that the first argument does not list, then imports the second.
IMPORT = """
import importlib
import re
import sys
from importlib.metadata import packages_distributions

plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
listed = set(sys.argv[1].split())
hidden = {
    package
    for package, makers in packages_distributions().items()
    if not any(plain(each) in listed or plain(each).startswith("parley") for each in makers)
}

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Hide())
assert "pytest" in hidden
importlib.import_module(sys.argv[2])
"""


def installed() -> set[str]:
    """Return the names of the packages that `make run` installs."""
    locks = (ROOT / "requirements" / f"{name}.txt" for name in LOCKS["run"])
    text = "\n".join(lock.read_text("utf-8") for lock in locks)
    names = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


@pytest.mark.parametrize("module", STARTED)
def test_it_starts_on_what_is_installed(module: str) -> None:
    names = " ".join(sorted(installed()))
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, names, module],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
