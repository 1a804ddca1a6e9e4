"""How the tests are shared out: what a worker leaves undone is done, and the run ends."""

from __future__ import annotations

import textwrap

import pytest

pytest_plugins = ["pytester"]


def test_a_run_ends_though_a_worker_crashed_after_groups_that_it_had_finished(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest("""
        from tests.together import Grouped

        def pytest_xdist_make_scheduler(config, log):
            return Grouped(config, log)
    """)
    quick = {f"test_quick_{name}": "def test_it(): pass" for name in "abcdefghijkl"}
    crash = """
        import os
        from pathlib import Path

        def test_before(): pass

        def test_crash():
            before = Path("crashed")
            if not before.exists():
                before.touch()
                os._exit(1)
    """
    pytester.makepyfile(**quick, test_z_crash=textwrap.dedent(crash))
    run = pytester.runpytest_subprocess(
        "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder", timeout=50
    )
    # The one that crashed, and once more each that was left, it among them.
    assert run.parseoutcomes() == {"failed": 1, "passed": 14}
