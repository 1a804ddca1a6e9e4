"""`python -m services.history` runs the history service until it is told to stop."""

from __future__ import annotations

import sys

from services.common.server import run_service
from services.history.bootstrap import bootstrap
from services.history.settings import HistorySettings

if __name__ == "__main__":
    sys.exit(run_service("history", HistorySettings, bootstrap, gives_way=True))
