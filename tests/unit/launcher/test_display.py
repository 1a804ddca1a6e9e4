"""What is shown while Parley starts."""

from __future__ import annotations

import io

from launcher.display import starting
from launcher.readiness import Phase, Progress


def test_without_a_terminal_each_step_is_one_line():
    out = io.StringIO()
    with starting(out) as show:
        show({"user": Progress(Phase.WAITING, 0.1)})
        show({"user": Progress(Phase.STARTING, 0.2)})
        show({"user": Progress(Phase.STARTING, 0.3)})
        show({"user": Progress(Phase.READY, 1.25)})
    assert out.getvalue().splitlines() == ["  user: starting (0.2 s)", "  user: ready (1.2 s)"]
