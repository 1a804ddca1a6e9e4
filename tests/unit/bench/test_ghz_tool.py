"""Which Go builds ghz."""

from __future__ import annotations

import pytest

from bench import ghz_tool
from bench.ghz_tool import find_go, go_version


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("go version go1.26.8 linux/amd64\n", (1, 26)),
        ("go version go1.24 darwin/arm64\n", (1, 24)),
        ("go version devel +abc\n", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_version_is_read(said, version):
    assert go_version(said) == version


def go_that(folder, script):
    go = folder / "go"
    go.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    go.chmod(0o755)
    return go


@pytest.mark.parametrize("script", ["echo go version go1.18.3 linux/amd64", "exit 1"])
def test_a_go_that_is_too_old_or_broken_is_passed_over(tmp_path, script):
    go_that(tmp_path, script)
    assert find_go({"PATH": str(tmp_path)}) is None


def test_no_go_at_all_is_no_error(tmp_path):
    assert find_go({"PATH": str(tmp_path)}) is None


def test_a_fitting_go_is_used(tmp_path):
    go = go_that(tmp_path, "echo go version go1.27.3 linux/amd64")
    assert find_go({"PATH": str(tmp_path)}) == go


def test_a_built_ghz_is_built_again_when_its_modules_change(monkeypatch, tmp_path):
    module = tmp_path / "module"
    module.mkdir()
    (module / "go.mod").write_text("module m", "utf-8")
    (module / "go.sum").write_text("one", "utf-8")
    binary, stamp = tmp_path / "ghz", tmp_path / "stamp"
    monkeypatch.setattr(ghz_tool, "MODULE", module)
    monkeypatch.setattr(ghz_tool, "TOOLS", tmp_path)
    monkeypatch.setattr(ghz_tool, "_GHZ", binary)
    monkeypatch.setattr(ghz_tool, "_STAMP", stamp)
    builds = []

    def build():
        builds.append(1)
        binary.touch()
        stamp.write_text(ghz_tool._wanted(), "ascii")

    monkeypatch.setattr(ghz_tool, "_build", build)
    assert ghz_tool.ghz() == binary
    ghz_tool.ghz()
    assert len(builds) == 1
    (module / "go.sum").write_text("two", "utf-8")
    ghz_tool.ghz()
    assert len(builds) == 2
