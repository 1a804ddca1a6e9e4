"""`python -m services.conversation`: runs the service until SIGTERM or SIGINT."""

import sys

from services.common.server import run_service
from services.conversation.bootstrap import bootstrap
from services.conversation.settings import ConversationSettings

if __name__ == "__main__":
    sys.exit(run_service("conversation", ConversationSettings, bootstrap))
