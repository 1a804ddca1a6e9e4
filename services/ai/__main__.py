"""`python -m services.ai`: run the ai service until it is told to stop."""

import sys

from services.ai.bootstrap import bootstrap
from services.ai.settings import AiSettings
from services.common.server import run_service

if __name__ == "__main__":
    sys.exit(run_service("ai", AiSettings, bootstrap))
