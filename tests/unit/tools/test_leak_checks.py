"""The leak checks see each kind of leak, and nothing where there is none."""

import sys
import textwrap

import pytest

pytest_plugins = ["pytester"]

LEAKS = {
    "task": """
        import asyncio
        kept = []
        async def test_it():
            kept.append(asyncio.create_task(asyncio.sleep(60), name="forgotten"))
    """,
    "thread": """
        import threading, time
        release = threading.Event()
        def test_it():
            threading.Thread(target=lambda: release.wait(5), name="forgotten").start()
    """,
    "process": """
        import subprocess
        kept = []
        def test_it():
            kept.append(subprocess.Popen(["sleep", "60.0"]))
    """,
    "file": """
        kept = []
        def test_it(tmp_path):
            kept.append((tmp_path / "forgotten").open("w"))
    """,
}

TIDY = """
    import asyncio, subprocess, threading
    import pytest

    @pytest.fixture
    async def background():
        task = asyncio.create_task(asyncio.sleep(60))
        yield
        task.cancel()

    async def test_tasks(background):
        await asyncio.to_thread(sum, [1])
        asyncio.create_task(asyncio.sleep(0.05))

    def test_rest(tmp_path):
        threading.Thread(target=lambda: None).start()
        subprocess.run(["true"])
        (tmp_path / "closed").write_text("x")
"""

A_WIDER_ONES = """
    import subprocess, time
    import pytest

    @pytest.fixture(scope="session")
    def server(tmp_path_factory):
        told = tmp_path_factory.mktemp("s") / "begin"
        script = f"while [ ! -e {told} ]; do sleep 0.02; done; sleep 60 & echo started; wait"
        with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
            yield told, process
            subprocess.run(["pkill", "-P", str(process.pid)])
            process.kill()

    def test_it(server):
        told, process = server
        told.touch()
        assert process.stdout.readline() == b"started\\n"
"""

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
leak_grace_seconds = 0.3
"""


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makeini(INI)
    pytester.makepyfile(textwrap.dedent(source))
    return pytester.runpytest_subprocess("-p", "tests.leak_checks", "-p", "no:hypothesispytest")


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_is_named_by_its_test(pytester: pytest.Pytester, kind: str):
    result = run(pytester, LEAKS[kind])
    result.assert_outcomes(passed=1, errors=1)
    expected = "sleep 60.0" if kind == "process" else "forgotten"
    result.stdout.fnmatch_lines(["*test_it left behind:*", f"*- *{expected}*"])


def test_tidy_tests_pass(pytester: pytest.Pytester):
    result = run(pytester, TIDY)
    result.assert_outcomes(passed=2)


def test_what_a_wider_fixtures_process_starts_is_not_the_tests(pytester: pytest.Pytester):
    result = run(pytester, A_WIDER_ONES)
    result.assert_outcomes(passed=1)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")
def test_a_leak_on_purpose_needs_a_reason(pytester: pytest.Pytester):
    marked = LEAKS["file"].replace("def test_it", "@pytest.mark.leaves_behind\n        def test_it")
    result = run(pytester, "import pytest\n" + textwrap.dedent(marked))
    result.assert_outcomes(errors=1)
