"""A pytest plugin that fails the test which leaves a task, thread, process or file behind.

What a leak breaks is some later test, far from its cause; this names the cause. Everything is
compared with the state before the test's own fixtures, so what wider fixtures hold is theirs.
Whatever is on its way out gets `leak_grace_seconds` (an ini option) to go.
"""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import pytest

DEFAULT_GRACE_SECONDS = "2.0"
"""Enough for a cancelled task, a joined thread or a terminated process on a busy machine."""

POLL_SECONDS = 0.02

Thing = TypeVar("Thing")

LIBRARY_THREADS = (
    "asyncio_",  # the loop's own executor: the runner shuts it down after this check
    "pytest_timeout",
)
"""Prefixes of threads whose owner ends them later than a test can."""

LIBRARY_PROCESSES = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes that the standard library keeps until the interpreter ends."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare how long a test's leftovers may take to go."""
    parser.addini("leak_grace_seconds", "time for leftovers to go", default=DEFAULT_GRACE_SECONDS)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker by which a test says that it leaves something on purpose."""
    config.addinivalue_line(
        "markers", "leaves_behind(reason): leaves a task, thread, process or file on purpose"
    )


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if, after its fixtures were taken down, something of it is still there."""
    marker = request.node.get_closest_marker("leaves_behind")
    if marker is not None:
        assert marker.args, "leaves_behind needs a reason"
        yield
        return
    runner = _runner(request)
    threads = set(threading.enumerate())
    files = _open_files()
    children = _children()
    yield
    grace = float(request.config.getini("leak_grace_seconds"))
    leaks = _leaked_tasks(runner, grace) if runner is not None else []
    leaks += [
        f"thread {thread.name}"
        for thread in _leaked(grace, lambda: set(filter(_ours, threading.enumerate())) - threads)
    ]
    started = _leaked(grace, lambda: _started_since(children))
    leaks += [_describe(child) for child in started]
    if _open_files() - files:
        gc.collect()  # an unreferenced file object in a cycle is the collector's, not a leak
    leaks += [f"open file {path}" for path in _leaked(grace, lambda: _open_files() - files)]
    for child in started:
        child.kill()
    if leaks:
        listed = "\n".join(f"  - {leak}" for leak in leaks)
        pytest.fail(f"{request.node.name} left behind:\n{listed}", pytrace=False)


def _leaked(grace: float, find: Callable[[], set[Thing]]) -> set[Thing]:
    """Return what `find` still finds when the grace, in seconds, is over."""
    deadline = time.monotonic() + grace
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return found


def _runner(request: pytest.FixtureRequest) -> asyncio.Runner | None:
    """Return the runner of an asynchronous test's own loop; it closes after this check."""
    if request.node.get_closest_marker("asyncio") is None:
        return None
    if "_function_scoped_runner" not in request.fixturenames:
        return None  # it shares a wider loop, whose tasks are not this test's alone
    runner = request.getfixturevalue("_function_scoped_runner")
    assert isinstance(runner, asyncio.Runner)
    return runner


def _leaked_tasks(runner: asyncio.Runner, grace: float) -> list[str]:
    """Return a line for each task that is still pending after the grace."""
    tasks = asyncio.all_tasks(runner.get_loop())
    if not tasks:
        return []

    async def wait() -> set[asyncio.Task[object]]:
        _, pending = await asyncio.wait(tasks, timeout=grace)
        return pending

    return [f"task {task.get_name()}: {task.get_coro()!r}" for task in runner.run(wait())]


def _ours(thread: threading.Thread) -> bool:
    """Tell whether a thread would keep the process alive and is not a library's."""
    return not thread.daemon and not thread.name.startswith(LIBRARY_THREADS)


def _children() -> set[psutil.Process]:
    """Return the processes below this one that still run."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            line = " ".join(child.cmdline())
            if child.status() != psutil.STATUS_ZOMBIE and not any(
                name in line for name in LIBRARY_PROCESSES
            ):
                found.add(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _started_since(older: set[psutil.Process]) -> set[psutil.Process]:
    """Return the processes below this one that are not `older`, nor started by one that is.

    What a wider fixture's Parley starts in the middle of a test is not the test's.
    """
    started = set()
    for child in _children() - older:
        try:
            if older.isdisjoint(child.parents()):
                started.add(child)
        except psutil.NoSuchProcess:
            continue
    return started


def _describe(child: psutil.Process) -> str:
    """Return a line that tells which process it is."""
    try:
        return f"process {child.pid}: {' '.join(child.cmdline())[:120]}"
    except psutil.NoSuchProcess:
        return f"process {child.pid}, which ended meanwhile"


def _open_files() -> set[str]:
    """Return the regular files open in this process, less those of installed packages."""
    return {
        file.path
        for file in psutil.Process().open_files()
        if not file.path.startswith((sys.prefix, sys.base_prefix))
        and ".hypothesis" not in file.path
    }
