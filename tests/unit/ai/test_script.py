"""Script files."""

from pathlib import Path

import pytest

from services.ai.script import Fault, Script


def test_a_misspelt_key_is_named_with_its_file(tmp_path: Path):
    path = tmp_path / "script.toml"
    path.write_text("[recognizer]\ntext = 'hello'\n")
    with pytest.raises(ValueError, match=r"script.toml.*\n.*recognizer.text"):
        Script.read(path)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path):
    path = tmp_path / "script.toml"
    path.write_text("= =")
    with pytest.raises(ValueError, match=r"script.toml"):
        Script.read(path)


def test_an_empty_file_is_the_default_script(tmp_path: Path):
    path = tmp_path / "script.toml"
    path.write_text("")
    assert Script.read(path) == Script()


@pytest.mark.parametrize(
    ("every", "struck"), [(False, [3]), (True, [3, 6, 9])], ids=["once", "every"]
)
def test_a_fault_strikes_the_calls_it_names(every: bool, struck: list[int]):
    fault = Fault(where="synthesizer", on_call=3, every=every)
    assert [call for call in range(1, 11) if fault.strikes(call)] == struck
