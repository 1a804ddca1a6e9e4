"""A backup of real servers, taken while somebody talks: elsewhere everything of it is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import select

from admin.backup.making import make
from admin.backup.recordings import store_of
from admin.backup.restoring import Wanted, restore
from admin.installation import Installation
from admin.progress import Stages
from admin.schema import connected
from services.history.adapters.tables import TurnRow
from services.media.adapters.sealing_keys import SealingKeys, new_key
from services.media.adapters.tables import RecordingRow
from services.media.recordings import Track, object_key
from tests.e2e.caller import caller
from tests.fault.test_away import history_has
from tests.fault.world import World
from tests.integration.admin.learner import sound, speak, speak_and_end

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]


async def test_what_was_said_before_a_backup_is_there_where_it_is_restored(
    whole: World, tmp_path: Path
) -> None:
    """`make test-fault` has a Parley go on with it, too: tests/integration/admin/round_trip.py."""
    here = Installation.load(whole.stack.environment)
    there = Installation.load({"PARLEY_DATA_DIR": str(tmp_path / "d")})
    keys = SealingKeys.parse(new_key("backups"))
    stages = Stages(Console(quiet=True), None)
    async with caller(whole.stack.address) as one:
        ended = await speak_and_end(one, "lighthouse")
        recording_id = (await sound(one, ended))["id"]
        talk = await speak(one, "lighthouse")
        await history_has(one, talk)
        saved = {turn_id for _, turn_id in talk.saved}
        manifest = await asyncio.to_thread(make, here, tmp_path / "b.tar", stages, keys=keys)
        # It went on meanwhile, as if nothing had happened.
        await talk.send(text={"text": "And then?"})
        await talk.until("turn_saved")
        await talk.send(finish={})
        await talk.until("ended")
    assert recording_id not in manifest.missing
    await asyncio.to_thread(restore, there, tmp_path / "b.tar", stages, Wanted(keys=keys))
    with connected(there.keeper("history").url) as connection:
        found = set(connection.scalars(select(TurnRow.turn_id)))
        conversations = set(connection.scalars(select(TurnRow.conversation_id)))
    assert saved <= found
    assert {ended, talk.conversation_id} <= conversations
    key = object_key(recording_id, Track.LEARNER)
    assert read(there, key) == read(here, key)
    with connected(there.keeper("media").url) as connection:
        live = select(RecordingRow.recording_id).where(
            RecordingRow.conversation_id == talk.conversation_id
        )
        spool = there.media.spool_dir / str(connection.scalar(live))
    assert (spool / "learner.pcm").stat().st_size > 0


def read(installation: Installation, key: str) -> bytes:
    with store_of(installation.media).open(key) as file:
        return file.read()
