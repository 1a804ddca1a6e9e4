"""Write docs/errors.md and docs/limits.md from the tables that the code reads."""

from __future__ import annotations

from pathlib import Path

from services.common.limits_page import render_limits
from services.common.reasons import REASONS, render_reasons
from tests.tried_limits import render_tried

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """Write both pages. `tests/unit/common/test_errors.py` fails where they are not up to date."""
    (DOCS / "errors.md").write_text(render_reasons(REASONS.values()), "utf-8")
    (DOCS / "limits.md").write_text(render_limits(render_tried()), "utf-8")


if __name__ == "__main__":
    main()
