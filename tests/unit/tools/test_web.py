"""The page is built when its sources changed and only then; a failure stops nobody who can talk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import web
from tools.node import Node, NpmError


class Npm:
    """Stands in for npm: counts what it is asked, and builds or fails."""

    def __init__(self, dist: Path) -> None:
        self.dist = dist
        self.built = 0
        self.fails = ""

    def __call__(self, node: Node, folder: Path, *arguments: str) -> str:
        if self.fails:
            raise NpmError(self.fails)
        self.built += 1
        self.dist.mkdir(exist_ok=True)
        (self.dist / "index.html").write_text("<p>")
        return ""


@pytest.fixture
def npm(tmp_path, monkeypatch):
    client, stubs = tmp_path / "clients" / "web", tmp_path / "gen" / "typescript"
    for folder in (client / "src", client / "node_modules" / "x", stubs / "src"):
        folder.mkdir(parents=True)
        (folder / "a.ts").write_text("one")
    stand_in = Npm(client / "dist")
    for name, value in {
        "ROOT": tmp_path,
        "CLIENT": client,
        "DIST": client / "dist",
        "STUBS": stubs,
        "TOOLS": tmp_path / ".tools",
        "STAMP": tmp_path / ".tools" / "stamp",
        "npm": stand_in,
        "npm_install": lambda folder: {},
        "find_node": lambda: Node(Path("node"), ("npm",)),
    }.items():
        monkeypatch.setattr(web, name, value)
    return stand_in


def test_what_did_not_change_is_not_built_again(npm):
    assert web.build()
    assert not web.build()
    assert npm.built == 1


@pytest.mark.parametrize("source", ["clients/web/src/a.ts", "gen/typescript/src/a.ts"])
def test_a_changed_source_is_built_whatever_its_date(npm, tmp_path, source):
    web.build()
    path = tmp_path / source
    before = path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert web.build()


def test_a_new_name_is_a_change(npm):
    web.build()
    path = web.CLIENT / "src" / "a.ts"
    path.rename(path.with_name("b.ts"))
    assert web.build()


def test_packages_are_no_sources(npm):
    web.build()
    (web.CLIENT / "node_modules" / "x" / "a.ts").write_text("two")
    assert not web.build()


def test_a_removed_page_is_built_again(npm):
    web.build()
    (web.DIST / "index.html").unlink()
    assert web.build()


def test_a_failed_build_is_tried_again_and_leaves_the_old_page(npm):
    web.build()
    (web.CLIENT / "src" / "a.ts").write_text("two")
    npm.fails = "does not compile"
    with pytest.raises(NpmError):
        web.build()
    assert (web.DIST / "index.html").is_file()
    npm.fails = ""
    assert web.build()


def test_parley_starts_without_its_page_and_says_so(npm, capsys):
    npm.fails = "no such registry"
    assert web.main(["build", "--or-warn"]) == 0
    told = capsys.readouterr().err
    assert "WITHOUT" in told
    assert "no such registry" in told


def test_an_older_page_is_told_from_none(npm, capsys):
    web.build()
    (web.CLIENT / "src" / "a.ts").write_text("two")
    npm.fails = "does not compile"
    assert web.main(["build", "--or-warn"]) == 0
    assert "OLDER" in capsys.readouterr().err


def test_who_asks_for_the_page_itself_gets_the_failure(npm, capsys):
    npm.fails = "no such registry"
    assert web.main(["build"]) == 1
    assert "no such registry" in capsys.readouterr().err


MANIFEST = {
    "index.html": {"file": "a.js", "isEntry": True, "imports": ["_shared"], "css": ["a.css"]},
    "_shared": {"file": "b.js", "imports": ["index.html"]},
    "src/talk/TalkPage.tsx": {"file": "talk.js", "isDynamicEntry": True, "imports": ["_shared"]},
    "src/history/HistoryPage.tsx": {"file": "history.js", "isDynamicEntry": True},
}


def test_the_first_load_is_the_entry_the_talk_and_what_they_import(npm):
    web.DIST.mkdir()
    for name in ("a.js", "b.js", "talk.js", "history.js"):
        (web.DIST / name).write_text("x")
    assert list(web.first_load(MANIFEST)) == ["a.js", "b.js", "talk.js"]


@pytest.mark.parametrize(
    ("sizes", "status"), [({"a.js": 200_000}, 0), ({"a.js": 150_000, "b.js": 50_001}, 1), ({}, 1)]
)
def test_a_first_load_over_the_budget_fails(sizes, status, capsys):
    assert web.report_size(sizes) == status


def test_a_build_without_a_manifest_cannot_pass_for_small(npm, monkeypatch):
    monkeypatch.setattr(web, "MANIFEST", web.DIST / "none.json")
    with pytest.raises(NpmError, match="manifest"):
        web.read_manifest()
