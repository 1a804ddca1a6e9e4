"""Generated pages: written where they differ, or held against what is committed."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def settle(pages: Mapping[Path, str], *, check: bool) -> int:
    """Write the pages that differ from their files, or with `check` only say which do.

    Returns the exit status: 1 where `check` found a difference.
    """
    stale = False
    for path, wanted in pages.items():
        present = path.read_text("utf-8") if path.is_file() else ""
        if wanted == present:
            continue
        name = path.relative_to(ROOT)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, "utf-8")
            print(f"wrote {name}")
            continue
        stale = True
        lines = difflib.unified_diff(
            present.splitlines(), wanted.splitlines(), "committed", "generated", lineterm="", n=1
        )
        print("\n".join(lines), file=sys.stderr)
        print(f"{name} is not that of the code. Run `make docs` and commit.", file=sys.stderr)
    return int(stale)
