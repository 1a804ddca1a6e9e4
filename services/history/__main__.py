"""`python -m services.history` runs the history service until it is told to stop.

`… dead-letters`: what was refused of its events, and of those that came to it through Redis.
`… recount`: adds up everybody's practice anew, and gives texts their place in the search index.
"""

from __future__ import annotations

import sys

from services.common import dead_letters
from services.common.server import run_service
from services.history import recount
from services.history.adapters.tables import OutboxRow
from services.history.bootstrap import bootstrap
from services.history.settings import HistorySettings

if __name__ == "__main__":
    if sys.argv[1:2] == ["dead-letters"]:
        sys.exit(dead_letters.main(sys.argv[2:], HistorySettings, OutboxRow))
    if sys.argv[1:2] == ["recount"]:
        sys.exit(recount.main(sys.argv[2:]))
    sys.exit(run_service("history", HistorySettings, bootstrap, gives_way=True))
