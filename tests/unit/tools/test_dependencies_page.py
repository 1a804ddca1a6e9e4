"""docs/dependencies.md has a reason for everything that Parley requires directly."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
PROJECTS = (".", "models", "clients/python_cli")
NPM_PROJECTS = ("clients/web", "gen/typescript", "tools/browser")


def package(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;]", requirement)[0]


def required() -> set[str]:
    names = set()
    for folder in PROJECTS:
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))[
            "project"
        ]
        extras = project.get("optional-dependencies", {}).values()
        names |= {package(line) for line in project["dependencies"]}
        names |= {package(line) for lines in extras for line in lines}
    for path in (ROOT / "requirements").glob("*.in"):
        lines = path.read_text(encoding="utf-8").splitlines()
        names |= {package(line) for line in lines if line and not line.startswith("#")}
    for folder in NPM_PROJECTS:
        manifest = json.loads((ROOT / folder / "package.json").read_text(encoding="utf-8"))
        names |= {*manifest.get("dependencies", {}), *manifest.get("devDependencies", {})}
    return {name for name in names if not name.startswith("parley-")}


@pytest.mark.parametrize("name", sorted(required()))
def test_every_direct_requirement_has_a_reason(name: str):
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| ")]
    named = {word.strip() for row in rows for word in row.split(",")}
    assert name in named, f"add a row for {name} to docs/dependencies.md"
