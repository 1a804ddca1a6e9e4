"""`python -m services.user`: the user service. `… keys`: its signing keys."""

import sys

from services.common.server import run_service
from services.user import key_rotation
from services.user.bootstrap import bootstrap
from services.user.settings import UserSettings

if sys.argv[1:2] == ["keys"]:
    sys.exit(key_rotation.main(sys.argv[2:]))
sys.exit(run_service("user", UserSettings, bootstrap))
