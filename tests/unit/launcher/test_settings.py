"""Settings of the launcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import WrongSettingsError
from launcher.settings import LauncherSettings


def test_a_wrong_setting_is_named():
    with pytest.raises(WrongSettingsError, match="PARLEY_READY_SECONDS"):
        LauncherSettings.load({"PARLEY_READY_SECONDS": "soon"})


def test_paths_are_made_absolute_because_programs_may_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    settings = LauncherSettings.load({"PARLEY_DATA_DIR": "here", "PARLEY_MODELS_DIR": "~/m"})
    assert settings.data_dir == tmp_path / "here"
    assert settings.effective_models_dir == Path.home() / "m"


def test_models_live_in_the_data_folder_unless_told_otherwise(tmp_path: Path):
    settings = LauncherSettings.load({"PARLEY_DATA_DIR": str(tmp_path), "PARLEY_MODELS_DIR": ""})
    assert settings.effective_models_dir == tmp_path / "models"
