"""Script files."""

from pathlib import Path

import numpy as np
import pytest

from services.ai.adapters.scripted import ScriptedRecognizer
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


async def test_how_loud_an_utterance_is_chooses_between_two_kinds_of_texts():
    script = Script.model_validate({"recognizer": {"texts": ["Wait"], "loud_texts": ["mhm"]}})
    recognizer = ScriptedRecognizer(script)
    quiet, loud = (np.full(320, level, np.int16) for level in (4_000, 26_000))
    heard = []
    for frames in ([quiet] * 20, [loud] * 20, [loud] + [quiet] * 20):
        recognition = recognizer.open()
        for frame in frames:
            recognition.feed(frame)
        heard.append((await recognition.final()).verbatim)
    assert heard == ["Wait", "mhm", "Wait"]
