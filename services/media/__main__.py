"""`python -m services.media` runs the media service; with a word behind it, see commands.py."""

from __future__ import annotations

import sys

from services.common.server import run_service
from services.common.telemetry import configure_logs
from services.media import commands
from services.media.bootstrap import bootstrap
from services.media.settings import MediaSettings

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in commands.COMMANDS:
        configure_logs("media", "warning")
        commands.end(commands.main(sys.argv[1:]))
    sys.exit(run_service("media", MediaSettings, bootstrap, gives_way=True))
