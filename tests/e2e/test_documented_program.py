"""The program in docs/calling-parley.md holds a turn with the real thing."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import SPEECH, Learner
from tests.e2e.listening import word_error_rate, write_down
from tests.stack import Stack

PAGE = Path(__file__).parents[2] / "docs" / "calling-parley.md"


@pytest.mark.e2e
@pytest.mark.models
@pytest.mark.timeout(240)
@pytest.mark.leaves_behind("a running Parley that the tests share")
def test_the_documented_program_is_answered_aloud(
    local_stack: Stack, sign_up: Callable[[Stack], Learner], tmp_path: Path
) -> None:
    match = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert match is not None
    script = tmp_path / "turn.py"
    script.write_text(match.group(1))
    learner = sign_up(local_stack)
    done = subprocess.run(
        [sys.executable, str(script), learner.username, str(SPEECH / "014070080.wav")],
        cwd=tmp_path,
        env=learner.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "people" in done.stdout.lower()
    answered = " ".join(re.findall(r"^tutor: (.+)$", done.stdout, re.MULTILINE))
    with wave.open(str(tmp_path / "reply.wav")) as reply:
        assert reply.getnframes() > reply.getframerate() // 2
    assert word_error_rate(answered, write_down(tmp_path / "reply.wav")) <= 0.2
