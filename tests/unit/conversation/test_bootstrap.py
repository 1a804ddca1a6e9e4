"""What the service does when a part of it breaks that must run as long as it does."""

import asyncio
from pathlib import Path

import pytest

from services.common.lifecycle import serve
from services.common.outbox_relay import OutboxRelay
from services.conversation.bootstrap import bootstrap
from services.conversation.journal import Journal
from services.conversation.settings import ConversationSettings


@pytest.mark.parametrize("broken", [Journal, OutboxRelay])
async def test_neither_the_journal_nor_the_relay_ends_without_taking_the_service_down(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, broken: type
):
    """It would go on answering learners whose turns nobody stores."""

    async def run(self: object) -> None:
        await asyncio.sleep(0)
        raise ValueError("a bug")

    monkeypatch.setattr(broken, "run", run)
    settings = ConversationSettings(data_dir=data_dir, port=0, metrics_port=0, websocket_port=0)
    async with serve("conversation", settings, bootstrap) as service:
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(service.run_until_stopped(), 10)
    assert caught.group_contains(ValueError)
