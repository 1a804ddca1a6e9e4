"""`python -m services.conversation`: runs the service until SIGTERM or SIGINT.

`… dead-letters`: what history refused of it.
"""

import sys

from services.common import dead_letters
from services.common.server import run_service
from services.conversation.adapters.tables import OutboxRow
from services.conversation.bootstrap import bootstrap
from services.conversation.settings import ConversationSettings

if __name__ == "__main__":
    if sys.argv[1:2] == ["dead-letters"]:
        sys.exit(dead_letters.main(sys.argv[2:], ConversationSettings, OutboxRow))
    sys.exit(run_service("conversation", ConversationSettings, bootstrap))
