"""The peer runs the model runtimes that Parley runs, or a comparison would compare those."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[3] / "requirements"
RUNTIMES = [
    "hibari-tts",
    "jinja2",
    "numpy",
    "onnxruntime",
    "platformdirs",
    "structlog",
]


def pinned(lock: str, name: str) -> str:
    text = (REQUIREMENTS / lock).read_text("utf-8")
    match = re.search(rf"^{name}==(\S+)", text, re.MULTILINE)
    assert match, f"{lock} does not pin {name}"
    return match[1]


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_peer_has_parleys_version(name: str):
    assert pinned("peers.txt", name) == pinned("server.txt", name)


# Imports modules in an environment that has no more packages than the lock has.
IMPORTING = """
import importlib, importlib.metadata, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        of = {each.lower().replace("_", "-") for each in owners.get(name, ())}
        if of and not of & there:
            raise ModuleNotFoundError(name=name)

owners = importlib.metadata.packages_distributions()
there = set(sys.argv[1].split())
sys.meta_path.insert(0, Absent())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
IN_THE_PEER = ["server", "services", "scripted", "turns"]


def test_the_peer_has_what_it_takes_of_parleys_code():
    root = REQUIREMENTS.parent
    taken = {
        node.module
        for name in IN_THE_PEER
        for node in ast.walk(ast.parse((root / f"bench/peers/pipecat_{name}.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
        if re.match(r"(bench|services|parley_models)\b(?!\.peers)", node.module)
    }
    lock = (REQUIREMENTS / "peers.txt").read_text("utf-8")
    there = re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)
    # Put on its path, not installed.
    there += ["parley-models", "parley-stubs"]
    command = [sys.executable, "-c", IMPORTING, " ".join(there), *sorted(taken)]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
