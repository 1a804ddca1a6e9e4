"""What a host does with recordings from a shell."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.media import commands
from services.media.adapters.objects import Objects
from services.media.adapters.sealed_objects import SealedObjects
from services.media.adapters.sealing_keys import SealingKeys, new_key

# An interpreter that is taken apart gives obstore's threads the time to abort it; here it is sure.
_TAKEN_APART = "import atexit, os\n\natexit.register(os.abort)\n"


def test_a_command_ends_before_its_interpreter_is_taken_apart(
    tmp_path: Path, data_dir: Path
) -> None:
    (tmp_path / "python").mkdir()
    (tmp_path / "python/sitecustomize.py").write_text(_TAKEN_APART)
    store, key = (tmp_path / "store").as_uri(), new_key("host")
    (tmp_path / "sound").write_bytes(b"fLaC")
    sealed = SealedObjects(Objects.at(store), SealingKeys.parse(key))
    asyncio.run(sealed.put("recordings/a/learner.flac", tmp_path / "sound"))
    command = subprocess.run(
        [sys.executable, "-m", "services.media", "keys", "list"],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "python"), *sys.path]),
            "PARLEY_MEDIA_STORE_URL": store,
            "PARLEY_MEDIA_SEALING_KEYS": key,
        },
        stdout=subprocess.PIPE,
        check=False,
    )
    said = f"host  1\n1 encrypted by Parley in {store}\n"
    assert (command.returncode, command.stdout.decode()) == (0, said)


@pytest.mark.parametrize("words", [["keys", "list"], ["keys", "rewrap"], ["housekeeping"]])
@pytest.mark.parametrize("there", ["nothing", "the list alone", "the store alone"])
def test_in_a_folder_that_is_not_parleys_nothing_is_made(
    data_dir: Path,
    words: list[str],
    there: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PARLEY_MEDIA_SEALING_KEYS", new_key("host"))
    if there == "the list alone":
        (data_dir / "db").mkdir()
        (data_dir / "db/media.sqlite3").touch()
    elif there == "the store alone":
        (data_dir / "media/objects").mkdir(parents=True)
        if words[0] == "keys":
            return
    before = sorted(data_dir.rglob("*"))
    assert commands.main(words) == commands.EXIT_WRONG
    assert "is PARLEY_DATA_DIR the running Parley's?" in capsys.readouterr().err
    assert sorted(data_dir.rglob("*")) == before
