"""What every test stands on: leak checks, a clean environment and a data folder of its own."""

import os
from pathlib import Path

import pytest

KEPT_VARIABLES = frozenset(
    {"PARLEY_CHROMIUM", "PARLEY_ENVOY", "PARLEY_MODELS_DIR", "PARLEY_PYTHON"}
)
"""Where things are on this machine; everything else about Parley a test sets itself."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in os.environ:
        if name.startswith("PARLEY_") and name not in KEPT_VARIABLES:
            monkeypatch.delenv(name)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty data folder, which `PARLEY_DATA_DIR` names during the test."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("PARLEY_DATA_DIR", str(folder))
    return folder
