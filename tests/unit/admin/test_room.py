"""What does not fit is told before it is begun."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from admin.backup.making import make
from admin.backup.restoring import Wanted, restore
from admin.backup.room import require_room
from admin.errors import AdminError
from tests.unit.admin.parleys import SAID, Parley
from tests.unit.admin.test_restore import assert_untouched


def have_free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    usage = type(shutil.disk_usage("/"))(size, 0, size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)


def test_a_folder_that_is_not_there_yet_is_on_the_disk_it_will_be_on(tmp_path: Path):
    require_room(tmp_path / "a" / "b", 1, "It")
    with pytest.raises(AdminError, match=r"It takes 1000\.0 TB at .*, where .* are free"):
        require_room(tmp_path / "a" / "b", 10**15, "It")


@pytest.mark.parametrize("free", [10_000, 5_000_000], ids=["databases", "recordings"])
def test_a_backup_that_does_not_fit_is_not_begun(
    parley: Parley, stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
):
    if free > 10_000:
        monkeypatch.setattr("admin.backup.recordings.estimated_bytes", lambda _listed: free + 1)
    have_free(monkeypatch, free)
    (tmp_path / "backups").mkdir()
    with pytest.raises(AdminError, match="are free"):
        make(parley.installation, tmp_path / "backups" / "b", stages)
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_restore_that_does_not_fit_changes_nothing(
    parley: Parley,
    installation: Any,
    stages: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    made = make(parley.installation, tmp_path / "b", stages)
    target = Parley(installation("restored"))
    have_free(monkeypatch, made.size - len(SAID))
    with pytest.raises(AdminError, match="The restore takes"):
        restore(target.installation, tmp_path / "b", stages, Wanted())
    assert_untouched(target)
