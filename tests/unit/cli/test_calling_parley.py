"""The program in docs/calling-parley.md is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import wave
from pathlib import Path

from tests.unit.cli.conftest import PASSWORD, Parley, WriteWav
from tests.unit.cli.fake_parley import HEARD_UTTERANCE, REPLY

PAGE = Path(__file__).parents[3] / "docs" / "calling-parley.md"


def program() -> str:
    """The first Python block of the page."""
    match = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert match is not None
    return match.group(1)


def test_the_program_has_25_lines_imports_aside() -> None:
    lines = [line for line in program().splitlines() if line.strip()]
    assert len([line for line in lines if not line.startswith(("import", "from"))]) == 25


def test_the_program_needs_only_the_stubs_and_grpc() -> None:
    imports = re.findall(r"^(?:import|from) (.+?)(?: import .*)?$", program(), re.MULTILINE)
    roots = {name.strip().split(".")[0] for line in imports for name in line.split(",")}
    assert roots - set(sys.stdlib_module_names) == {"grpc", "parley"}


def test_the_program_holds_a_turn(parley: Parley, write_wav: WriteWav, tmp_path: Path) -> None:
    parley.register()
    question = write_wav()
    script = tmp_path / "turn.py"
    script.write_text(program())
    done = subprocess.run(
        [sys.executable, str(script), "ana", str(question)],
        cwd=tmp_path,
        env={**os.environ, "PARLEY_SERVER": parley.address, "PARLEY_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert HEARD_UTTERANCE in done.stdout
    assert REPLY in done.stdout
    with wave.open(str(tmp_path / "reply.wav")) as reply:
        assert reply.getframerate() == 24_000
        assert reply.getnframes() > 24_000
    assert parley.fake.heard()[-1] == (1, 1320)
