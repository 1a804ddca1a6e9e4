"""`python -m services.media` runs the media service until it is told to stop."""

from __future__ import annotations

import sys

from services.common.server import run_service
from services.media.bootstrap import bootstrap
from services.media.settings import MediaSettings

if __name__ == "__main__":
    sys.exit(run_service("media", MediaSettings, bootstrap, gives_way=True))
