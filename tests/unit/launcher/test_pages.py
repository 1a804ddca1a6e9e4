"""A gateway that starts again finds the pages that its configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.pages import keep_pages


def built(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "assets").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "assets" / name).write_text(text)
    return folder


def test_what_is_built_anew_meanwhile_takes_nothing_away(tmp_path: Path):
    """A killed gateway never came back: its configuration named files of the build before."""
    dist = built(tmp_path / "dist", one="1")
    kept = keep_pages(dist, tmp_path / "run" / "pages")
    (dist / "assets" / "one").unlink()
    assert (kept / "assets" / "one").read_text() == "1"


def test_each_start_takes_the_build_that_it_finds(tmp_path: Path):
    dist, kept = built(tmp_path / "dist", one="1"), tmp_path / "pages"
    keep_pages(dist, kept)
    (dist / "assets" / "one").unlink()
    built(dist, two="2")
    assert keep_pages(dist, kept) == kept
    assert [each.name for each in (kept / "assets").iterdir()] == ["two"]


def test_where_nothing_was_built_nothing_old_is_served(tmp_path: Path):
    dist, kept = built(tmp_path / "dist", one="1"), tmp_path / "pages"
    keep_pages(dist, kept)
    assert keep_pages(tmp_path / "none", kept) == tmp_path / "none"
    assert not kept.exists()


def test_what_cannot_be_copied_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LauncherError, match="cannot be copied"):
        keep_pages(built(tmp_path / "dist", one="1"), tmp_path / "file" / "pages")


def test_the_copy_is_its_owners_alone(tmp_path: Path):
    built = tmp_path / "dist"
    (built / "assets").mkdir(parents=True, mode=0o755)
    (built / "assets" / "page.js").write_text("1")
    (built / "assets" / "page.js").chmod(0o644)
    kept = keep_pages(built, tmp_path / "run")
    assert not any(each.stat().st_mode & 0o077 for each in (kept, *kept.rglob("*")))
