"""The models before the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.models import ensure


def test_an_unknown_preset_is_told_with_the_known_ones(tmp_path: Path):
    with pytest.raises(LauncherError, match="default, light, test"):
        ensure("huge", tmp_path)
