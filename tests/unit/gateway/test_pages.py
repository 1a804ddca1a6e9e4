"""Which files of the web client become pages, and on what terms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import pages as module
from gateway.pages import APP_PATHS, UNBUILT, PageTooLargeError, pages


@pytest.fixture
def built(tmp_path: Path) -> Path:
    for name in (
        "index.html",
        "sw.js",
        "manifest.webmanifest",
        "icons/a b.png",
        "assets/app-1a2b.js",
        "assets/app-1a2b.js.map",
        ".vite/manifest.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_every_file_but_the_tools_own_is_a_page(built: Path):
    assert [each.path for each in pages(built)] == [
        "/assets/app-1a2b.js",
        "/icons/a%20b.png",
        "/manifest.webmanifest",
        "/sw.js",
        "/index.html",
        None,
    ]


def test_only_what_is_named_by_its_content_is_kept_for_ever(built: Path):
    kept = [each.path for each in pages(built) if "immutable" in each.cache_control]
    assert kept == ["/assets/app-1a2b.js"]
    assert {each.cache_control for each in pages(built) if each.path not in kept} == {"no-cache"}


def test_types_do_not_depend_on_the_machine(built: Path):
    types = {each.path: each.content_type for each in pages(built)}
    assert types["/assets/app-1a2b.js"] == "text/javascript; charset=utf-8"
    assert types["/manifest.webmanifest"] == "application/manifest+json"
    assert types[None] == "text/html; charset=utf-8"


def test_a_client_that_was_not_built_is_one_page_that_says_how(tmp_path: Path):
    (only,) = pages(tmp_path / "missing")
    assert only.file == UNBUILT
    assert "make web" in only.file.read_text()


def test_a_file_too_large_to_hold_is_named(built: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 5)
    with pytest.raises(PageTooLargeError, match=r"app-1a2b\.js has 18 bytes"):
        pages(built)


@pytest.mark.parametrize(
    ("path", "is_the_apps"),
    [
        ("/", True),
        ("/history", True),
        ("/history/018f0000-0000-7000-8000-000000000001", True),
        ("/missing.js", False),
        ("/parley.user.v1.UserService/Login", False),
        ("/grpc.health.v1.Health/Check", False),
    ],
)
def test_the_entry_page_answers_paths_that_are_neither_files_nor_methods(
    path: str, is_the_apps: bool
):
    assert bool(re.fullmatch(APP_PATHS, path)) is is_the_apps
