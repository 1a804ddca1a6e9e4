"""Recipes run in a process of their own, and what they make is checked."""

from pathlib import Path

import pytest

from parley_models import derive
from parley_models.derive import RECIPES, check_transcript, run_module, run_recipe
from parley_models.errors import ConversionError, ManifestError
from parley_models.manifest import load_manifest


def test_every_recipe_of_the_manifest_exists() -> None:
    wanted = {m.recipe for m in load_manifest().models.values() if m.recipe}
    assert wanted <= set(RECIPES)


def test_an_unknown_recipe_is_a_defect_of_the_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no recipe"):
        run_recipe("none-such", tmp_path, tmp_path)


def test_a_process_that_fails_gives_its_last_words() -> None:
    with pytest.raises(ConversionError, match=r"No module named parley_models\.none_such"):
        run_module("parley_models.none_such")


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derive, "TIMEOUT_S", 0.01)
    with pytest.raises(ConversionError, match="did not end"):
        run_module("parley_models.derive")


@pytest.mark.parametrize(
    "heard",
    [
        "I would like to book a table for two people tonight, please.",
        "I'd like to book a table for two people tonight please",
    ],
)
def test_a_recognizer_that_hears_the_clip_passes(heard: str) -> None:
    check_transcript(heard)


@pytest.mark.parametrize("heard", ["", "the the the the the", "I would like"])
def test_a_recognizer_that_does_not_hear_the_clip_fails(heard: str) -> None:
    with pytest.raises(ConversionError, match="does not hear"):
        check_transcript(heard)
