"""Loads the scripts in `tools/`, which are no package."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a function that loads a tool by its name."""

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(TOOLS)
        specification = importlib.util.spec_from_file_location(
            f"tools_{name}", TOOLS / f"{name}.py"
        )
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        monkeypatch.setitem(sys.modules, specification.name, module)
        specification.loader.exec_module(module)
        return module

    return load
