"""`python -m services.user`: the user service."""

import sys

from services.common.server import run_service
from services.user.bootstrap import bootstrap
from services.user.settings import UserSettings

sys.exit(run_service("user", UserSettings, bootstrap))
