"""Saved prompts are found again, and anything wrong with a file is as good as no file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from services.ai.adapters.llama_cpp.states import SavedStates


class Disk:
    """Writes tokens as text."""

    fails = False

    def save(self, sequence: int, tokens: Sequence[int], path: Path) -> bool:
        path.write_text(" ".join(map(str, tokens)))
        return not self.fails

    def restore(self, sequence: int, capacity: int, path: Path) -> tuple[int, ...] | None:
        tokens = tuple(map(int, path.read_text().split()))
        return tokens if len(tokens) <= capacity else None


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def states(tmp_path: Path, model: Path) -> SavedStates:
    return SavedStates(tmp_path / "cache", model, "v1")


def files(states_folder: Path) -> list[str]:
    return sorted(path.suffix for path in states_folder.iterdir())


def test_what_was_saved_is_restored(states: SavedStates):
    states.save(Disk(), 3, (1, 2))
    assert states.restore(Disk(), 3, (1, 2))


def test_another_prompt_is_not(states: SavedStates):
    states.save(Disk(), 3, (1, 2))
    assert not states.restore(Disk(), 3, (1, 2, 3))


def test_another_model_is_not(states: SavedStates, model: Path):
    states.save(Disk(), 3, (1, 2))
    model.write_bytes(b"other weights")
    assert not states.restore(Disk(), 3, (1, 2))


def test_another_release_is_not(states: SavedStates, tmp_path: Path, model: Path):
    states.save(Disk(), 3, (1, 2))
    assert not SavedStates(tmp_path / "cache", model, "v2").restore(Disk(), 3, (1, 2))


def test_a_file_with_other_tokens_is_not(states: SavedStates, tmp_path: Path):
    states.save(Disk(), 3, (1, 2))
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text("1 3")
    assert not states.restore(Disk(), 3, (1, 2))


def test_one_file_is_kept_and_those_of_earlier_runtimes_go(states: SavedStates, tmp_path: Path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "old.slot").touch()
    states.save(Disk(), 3, (1, 2))
    states.save(Disk(), 3, (1, 2, 3))
    assert files(folder) == [".state"]


def test_what_could_not_be_written_whole_leaves_nothing(states: SavedStates, tmp_path: Path):
    disk = Disk()
    disk.fails = True
    states.save(disk, 3, (1, 2))
    assert files(tmp_path / "cache") == []


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path, model: Path):
    (tmp_path / "file").touch()
    SavedStates(tmp_path / "file" / "cache", model, "v1").save(Disk(), 3, (1, 2))
