"""The models before the start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.models import ensure
from parley_models.fetch import Fetcher


def test_an_unknown_preset_is_told_with_the_known_ones(tmp_path: Path):
    with pytest.raises(LauncherError, match="default, light, test"):
        ensure("huge", tmp_path)


def test_what_is_fetched_is_said_before_its_progress_even_in_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Buffered, the line appeared after those of the progress, on standard error."""
    pipe = tmp_path / "pipe"
    seen: list[str] = []
    monkeypatch.setattr(Fetcher, "fetch", lambda *_: seen.append(pipe.read_text()))
    with pipe.open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        ensure("test", tmp_path)
    assert [text.split()[0] for text in seen] == ["Fetching"]
