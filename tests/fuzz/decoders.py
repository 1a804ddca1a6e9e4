"""Looks for bytes that break a part: `make fuzz-decoders`, ten minutes with atheris.

    python -m tests.fuzz.decoders [--seconds 600] [--keep FOLDER]

Every part has its share of the time, in a process of its own. What breaks one is written to
`crash-…` below the folder, and its traceback printed; the exit status is then 1. A file that broke
something goes to `tests/fuzz/seeds/<part>/` together with the mend. Needs `requirements/fuzz.txt`.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[2]

# Half of the time is the session machine's, whose inputs are whole talks; of one share each.
_SHARES = {"session": 5, "talk": 5}

# Of one process: what a hostile file can make FFmpeg ask for is bounded elsewhere.
_MEMORY_MB = 3_000
# One input that takes longer is a fault as well.
_SLOW_SECONDS = 20


def main() -> int:
    """Fuzz every part; return the exit status."""
    parser = argparse.ArgumentParser(description="Fuzz what takes bytes from outside.")
    parser.add_argument("--seconds", type=int, default=600, help="for all parts together")
    parser.add_argument("--keep", type=Path, default=ROOT / "test-output" / "fuzz")
    parser.add_argument("--part", help="this one alone")
    options = parser.parse_args()
    if options.part is not None:
        return fuzz(options.part, options.keep, options.seconds)
    broken = []
    names = part_names()
    shares = [_SHARES.get(name, 1) for name in names]
    began = time.monotonic()
    for place, name in enumerate(names):
        left = options.seconds - (time.monotonic() - began)
        share = max(1, round(left * shares[place] / sum(shares[place:])))
        command = [sys.executable, "-m", "tests.fuzz.decoders", "--part", name]
        command += ["--seconds", str(share), "--keep", str(options.keep)]
        print(f"== {name}, {share} s", flush=True)
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
        lines = done.stderr.splitlines()
        if done.returncode:
            broken.append(name)
            print(done.stderr, flush=True)
        print("\n".join(each for each in lines if each.startswith(("Done", "stat::number"))))
    taken = time.monotonic() - began
    print(f"{len(names)} parts in {taken:.0f} s; broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


def part_names() -> list[str]:
    """Return the names of all parts."""
    from tests.fuzz.parts import PARTS

    return [each.__name__ for each in PARTS]


def fuzz(name: str, folder: Path, seconds: int) -> int:
    """Fuzz one part until the time is over; what breaks it ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["services", "websockets"]):
        from tests.fuzz import corpus as beginnings
        from tests.fuzz import parts
        from tests.fuzz.mutation import Mutator
    part = next(each for each in parts.PARTS if each.__name__ == name)
    corpus = folder / "corpus" / name
    beginnings.write_corpus(part, corpus)
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={_MEMORY_MB}",
        f"-timeout={_SLOW_SECONDS}",
        "-max_len=16384",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/crash-{name}-",
        str(corpus),
    ]
    message, piece = parts.messages_of(part), parts.pieces_of(part)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        # Blind changes of a message seldom leave one: two in three are by its descriptor.
        if seed % 3 == 0 or (message is None and piece is None):
            return bytes(atheris.Mutate(data, most))
        mutator = Mutator(str(seed), beginnings.HINTS)
        if message is not None:
            return mutator.message(message)[0][:most]
        return _with_another(data, mutator.message(piece)[0], Random(seed))[:most]

    atheris.Setup(arguments, lambda data: parts.run(part, data), custom_mutator=mutated)
    atheris.Fuzz()
    return 0


def _with_another(data: bytes, message: bytes, random: Random) -> bytes:
    """Put a message among the pieces of `data`, or in the place of one."""
    from tests.fuzz import corpus, parts

    pieces = list(parts.pieces(data))
    at = random.randint(0, len(pieces))
    # `talk` takes the first byte for what kind of thing happens.
    pieces[at : at + random.randint(0, 1)] = [random.choice([b"", b"\0"]) + message]
    return corpus.in_pieces(pieces)


if __name__ == "__main__":
    sys.exit(main())
