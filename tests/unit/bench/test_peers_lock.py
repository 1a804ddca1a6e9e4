"""The peer runs the model runtimes that Parley runs, or a comparison would compare those."""

from __future__ import annotations

import re
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
