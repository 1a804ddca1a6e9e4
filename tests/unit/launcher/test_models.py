"""The models before the start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.models import ensure
from parley_models import ModelStore
from parley_models.fetch import Fetcher
from parley_models.manifest import load_manifest


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


def test_extras_come_with_what_is_missing_and_are_not_fetched_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who has all that is needed may be without a network."""
    fetched: list[tuple[str, ...]] = []
    monkeypatch.setattr(Fetcher, "fetch", lambda _, names: fetched.append(tuple(names)))
    manifest = load_manifest()
    ensure("default", tmp_path)
    assert fetched == [manifest.preset("default").all_names]
    assert set(fetched[0]) > set(manifest.preset("default").model_names)
    monkeypatch.setattr(ModelStore, "missing", lambda _, names: ())
    ensure("default", tmp_path)
    assert len(fetched) == 1
