"""Mixed load for a long time, a third of it broken off: memory, files and tasks must stay flat.

    python -m tests.fault.soak --seconds 600        (`make test-soak`)
    python -m tests.fault.soak --seconds 7200

Learners talk by voice and by text, look at what was said and play it, upload, play and delete
files; of all that three in ten are cancelled at a random moment (`load`). Parley keeps its data in
PostgreSQL, Redis and S3, or with `--files` as on a machine of one's own. Every program's resident
memory, open files and tasks are looked at all along; the end prints tables and leaves a picture.

Exit status 1: something was refused that should not be, too little was done, or a figure grew. 2:
of a figure nobody can tell, as it moves too much for so short a run (`steady`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import matplotlib as mpl
import psutil

from tests.fault.load import Done, one_learner
from tests.fault.steady import Allowance, Answer, judge
from tests.fault.world import PROGRAMS, world
from tests.stack import Stack

mpl.use("agg")
from matplotlib import pyplot as plt

PICTURE = Path("test-output/soak.png")
LEARNERS = 4
LOOKS = 240
_LOOK_WITHIN_S = 30.0

# What must not be overlooked, an hour and in a short run: of memory 20 MiB an hour in ten minutes
# and 4 in two hours. Files and tasks come and go with what is in progress.
ALLOWED = {
    "memory_mib": Allowance(per_hour=4, in_all=20 / 6),
    "files": Allowance(per_hour=6, in_all=10),
    "tasks": Allowance(per_hour=12, in_all=24),
}

# What a service leaves to Python's collector is no leak, but rises for minutes and would hide one.
# So it is collected soon: the services keep these thresholds for all but the youngest.
_COLLECT_SOON = "import gc\n\ngc.set_threshold(700, 2, 1)\n"

# And what is freed goes back to the machine: a memory that the allocator keeps for each thread, and
# buffers that it keeps once they were large, go up and down by more than a leak does in an hour.
_GIVE_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}

Samples = dict[tuple[str, str], list[float]]


def main() -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(description="Mixed load for a long time.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learners", type=int, default=LEARNERS)
    parser.add_argument("--files", action="store_true", help="no PostgreSQL, Redis and S3")
    chosen = parser.parse_args()
    with running(files=chosen.files) as stack:
        done, samples = asyncio.run(soak(stack, chosen.seconds, chosen.learners, chosen.seed))
    return report(done, samples, chosen.seconds, chosen.learners)


@contextmanager
def running(*, files: bool) -> Iterator[Stack]:
    """Run Parley for a soak."""
    with tempfile.TemporaryDirectory(prefix="parley-soak-") as name:
        folder = Path(name)
        (folder / "python").mkdir()
        (folder / "python" / "sitecustomize.py").write_text(_COLLECT_SOON)
        settings = {
            **_GIVE_BACK,
            "PYTHONPATH": str(folder / "python"),
            "PARLEY_USER_BCRYPT_COST": "4",
            # A cancelled stream is a client that may come back; here none does.
            "PARLEY_CONVERSATION_RESUME_SECONDS": "5",
            "PARLEY_MEDIA_RESUME_SECONDS": "5",
        }
        if files:
            with Stack(folder / "d", settings=settings) as stack:
                yield stack
        else:
            with world(folder, settings) as one:
                yield one.stack


async def soak(stack: Stack, seconds: float, learners: int, seed: int) -> tuple[Done, Samples]:
    """Let `learners` do things for so long; return what they did and what was seen meanwhile."""
    until = time.monotonic() + seconds
    done = Done()
    samples: Samples = defaultdict(list)
    async with asyncio.TaskGroup() as group:
        group.create_task(look(stack, until, max(0.5, seconds / LOOKS), samples, done))
        for one in range(learners):
            random = Random(seed * 1_000 + one)
            group.create_task(one_learner(stack.address, until, random, done))
    return done, samples


# --- what is seen -------------------------------------------------------------------------------


async def look(stack: Stack, until: float, every_s: float, samples: Samples, done: Done) -> None:
    """Look at every program, again and again; until a monotonic time, for then less is done."""
    due = time.monotonic()
    while (due := max(due + every_s, time.monotonic())) < until:
        await asyncio.sleep(due - time.monotonic())
        for program in PROGRAMS:
            try:
                found = await asyncio.to_thread(figures, stack, program)
            except (OSError, psutil.Error) as failure:
                done.refused[f"a look at {program}", type(failure).__name__] += 1
                continue
            for figure, value in found.items():
                samples[program, figure].append(value)


def figures(stack: Stack, program: str) -> dict[str, float]:
    """Return what a program takes now.

    Raises:
        OSError, psutil.Error: it is not there, or does not tell in time.
    """
    process = psutil.Process(stack.pid(program))
    found = {"memory_mib": process.memory_info().rss / 2**20, "files": float(process.num_fds())}
    port = stack.environment.get(f"PARLEY_{program.upper()}_METRICS_PORT")
    if port is not None:
        url = f"http://127.0.0.1:{port}/metrics"
        with contextlib.closing(urllib.request.urlopen(url, timeout=_LOOK_WITHIN_S)) as page:
            lines = page.read().decode().splitlines()
        found["tasks"] = next(
            float(line.split()[1]) for line in lines if line.startswith("parley_tasks ")
        )
    return found


# --- what is made of it -------------------------------------------------------------------------


def report(done: Done, samples: Samples, seconds: float, learners: int) -> int:
    """Print it all, leave the picture, and return the exit status."""
    wrong = done.wrong(seconds, learners)
    print(f"{done.table()}\n")
    answers = table(samples, seconds / 3600)
    draw(samples, seconds)
    print(f"\ndrawn in {PICTURE}")
    if Answer.GROWING in answers:
        wrong.append("a figure grows")
    for each in wrong:
        print(f"WRONG: {each}")
    if wrong:
        return 1
    if Answer.UNCLEAR in answers:
        print("UNCLEAR: a figure moves too much for so short a run; --seconds makes it longer")
        return 2
    return 0


def table(samples: Samples, hours: float) -> set[Answer]:
    """Print what each figure came to; return what can be said of them, each answer once."""
    print("| program | figure | floor when warm | at the end | grows an hour | less than | |")
    print("|---|---|---|---|---|---|---|")
    answers = set()
    for (program, figure), values in sorted(samples.items()):
        try:
            found = judge(values, hours, ALLOWED[figure])
        except ValueError as error:
            answers.add(Answer.UNCLEAR)
            print(f"| {program} | {figure} | | | | | {error} |")
            continue
        answers.add(found.answer)
        floors = f"{found.first:.1f} | {found.last:.1f}"
        growth = f"{found.growth:+.1f} ± {found.noise:.1f} | {found.bound:.1f}"
        print(f"| {program} | {figure} | {floors} | {growth} | {found.answer} |")
    return answers or {Answer.UNCLEAR}


def draw(samples: Samples, seconds: float) -> None:
    """Leave a picture of it all."""
    PICTURE.parent.mkdir(exist_ok=True)
    plot, axes = plt.subplots(len(ALLOWED), 1, sharex=True, figsize=(9, 9))
    for (program, figure), values in samples.items():
        at = [seconds / 60 * index / len(values) for index in range(len(values))]
        axes[list(ALLOWED).index(figure)].plot(at, values, label=program)
    for axis, figure in zip(axes, ALLOWED, strict=True):
        axis.set_ylabel(figure.replace("_mib", ", MiB"))
        axis.set_ylim(bottom=0)
        if axis.lines:
            axis.legend(fontsize="small", ncols=3)
    axes[-1].set_xlabel("minutes")
    plot.tight_layout()
    plot.savefig(PICTURE, dpi=120)
    plt.close(plot)


if __name__ == "__main__":
    sys.exit(main())
