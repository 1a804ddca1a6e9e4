"""Parley as a browser meets it: with its page, over TLS, answering by a script.

A streamed upload needs HTTP/2, and a browser speaks that over TLS alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.stack import Stack
from tools.web import DIST, build, build_driver

ROOT = Path(__file__).parents[3]
OURS = ROOT / "tests" / "data" / "web" / "test"
"""What the tests add to it, below `/test/`."""

HEARD = ("I would like a table for two.", "What do you have today?", "That sounds very good.")
"""What the scripted recognizer hears, one a turn."""

REPLIES = (
    "Of course. Would you like to sit by the window, or would you rather have it quiet?",
    "Today we have a soup of tomatoes, and fresh fish with potatoes and a green salad.",
    "I am glad to hear that. I will bring you some water and some bread in a moment.",
)
"""What the scripted tutor answers, one a turn."""

MS_PER_WORD = 150

LOW_HZ, HIGH_HZ = 110.0, 220.0
"""The scripted voices: `tone-low` and `tone`."""


def sounding_s(reply: str) -> float:
    """Return for how long the scripted voice says this."""
    return len(reply.split()) * MS_PER_WORD / 1000


def write_script(folder: Path) -> Path:
    """Write the script into `folder` and return its path."""
    path = folder / "script.toml"
    lines = [
        "[recognizer]",
        f"texts = {json.dumps(HEARD)}",
        "[language_model]",
        f"replies = {json.dumps(REPLIES)}",
        "[synthesizer]",
        f"ms_per_word = {MS_PER_WORD}",
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def write_page(folder: Path) -> Path:
    """Write the page, and below `/test/` what is the tests' own, into `folder`; return where."""
    build()
    path = folder / "page"
    shutil.copytree(DIST, path)
    shutil.copytree(OURS, path / "test")
    build_driver(path / "test")
    return path


def web_stack(
    folder: Path, *, engine: str = "scripted", tls: bool = True, settings: Mapping[str, str] = {}
) -> Stack:
    """Return a Parley that is not started yet, its data in `folder`."""
    wanted = {"PARLEY_GATEWAY_WEB_DIR": str(write_page(folder)), **settings}
    if tls:
        wanted["PARLEY_TLS"] = "1"
    if engine == "scripted":
        # Two of them, to choose from.
        wanted.setdefault("PARLEY_AI_ENGINES", '["scripted", "scripted-pipeline"]')
        wanted["PARLEY_AI_SCRIPT"] = str(write_script(folder))
    return Stack(folder / "d", engine=engine, settings=wanted)
