"""Which tests one worker takes together, and in what order the groups begin.

A group is the tests of a file, or of a folder whose tests share what is costly. Those with real
models run one after another: two would take each other's cores. What takes longest begins first,
so that no worker is left with it when the others are done.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

ROOT = Path(__file__).parent.parent

FOLDERS = ("tests/integration/gateway", "tests/e2e/web", "tests/fault")
"""Folders whose tests share what is costly, or what lives in a loop that only they keep running."""

MODELS = "models"
"""The group of every file that has a test with real models."""

LONGEST_FIRST = (
    MODELS,
    "tests/e2e/web",
    "tests/fault",
    "tests/integration/launcher",
    "tests/e2e",
    "tests/integration/gateway",
    "tests/integration",
    "tests/unit/launcher",
    "tests/fuzz",
    "tests/contract",
)
"""How the names of the costly groups begin, in the order in which they are run."""


def group_of(node_id: str) -> str:
    """Return the name of the group of a test, which `node_id` names from the root on."""
    return _group_of_file(node_id.partition("::")[0])


def place_of(node_id: str) -> int:
    """Return the place of a test's group in the order in which groups begin."""
    group = group_of(node_id)
    costly = (place for place, each in enumerate(LONGEST_FIRST) if group.startswith(each))
    return next(costly, len(LONGEST_FIRST))


@cache
def _group_of_file(file: str) -> str:
    path = ROOT / file
    # Tests of somebody else's may be run with ours as a plugin.
    if path.is_file() and "mark.models" in path.read_text(encoding="utf-8"):
        return MODELS
    return next((each for each in FOLDERS if file.startswith(f"{each}/")), file)


class Grouped(LoadScopeScheduling):  # type: ignore[misc]
    """Gives whole groups to workers.

    xdist's own `loadgroup` writes the group into a test's name, which pytest no longer lets it.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def remove_node(self, node: WorkerController) -> str | None:
        """Remove a worker; return the test that it crashed in.

        All its groups come back to the queue. A worker that was given one of which nothing is left
        to do would wait for more for ever, and the others with it.
        """
        groups = self.assigned_work[node]
        for done in [name for name, tests in groups.items() if all(tests.values())]:
            del groups[done]
        crashed: str | None = super().remove_node(node)
        return crashed
