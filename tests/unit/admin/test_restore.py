"""What was backed up is there again; what is in the way is told before anything moves."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from admin.backup import sources
from admin.backup.making import make
from admin.backup.manifest import NAME
from admin.backup.restoring import Wanted, restore
from admin.errors import AdminError, DamagedBackupError, UnfitBackupError
from admin.schema import Standing, look
from launcher.errors import LauncherError
from launcher.folder import locked
from launcher.programs import plan
from launcher.run import run
from services.common.errors import Unavailable
from services.conversation.adapters.tables import ConversationRow as Talk
from services.conversation.adapters.tables import OutboxRow
from services.history.adapters.tables import ConversationRow, TurnRow
from services.media.adapters.tables import RecordingRow
from services.user.adapters.tables import ACCOUNTS
from tests.unit.admin.parleys import (
    ANNA,
    BEN,
    MORNING,
    SAID,
    Parley,
    account,
    filled,
    recording,
    talk,
)
from tests.unit.admin.test_databases import set_revision
from tests.unit.admin.test_manifest import signed

ANYTHING = Wanted(replace=True)


@pytest.fixture
def target(installation: Any) -> Parley:
    """Return where there is none yet."""
    return Parley(installation("restored"))


def files(parley: Parley, *areas: str) -> dict[str, bytes]:
    """Return every file in these folders of the data folder."""
    return {
        str(path.relative_to(parley.root)): path.read_bytes()
        for path in sorted(parley.root.rglob("*"))
        if path.is_file() and path.relative_to(parley.root).parts[0] in areas
    }


@pytest.mark.parametrize("name", ["backup", "backup.tar"])
def test_it_is_all_there_again(
    parley: Parley, target: Parley, stages: Any, tmp_path: Path, name: str
):
    make(parley.installation, tmp_path / name, stages)
    done = restore(target.installation, tmp_path / name, stages, Wanted())
    assert target.all_rows() == parley.all_rows()
    assert files(target, "media", "audit") == files(parley, "media", "audit")
    assert (done.erased, done.deleted, done.set_aside) == (0, 0, None)


def test_it_is_its_owners_alone_and_leaves_nothing_behind(place: Path, target: Parley, stages: Any):
    umask = os.umask(0o077)
    try:
        restore(target.installation, place, stages, Wanted())
    finally:
        os.umask(umask)
    assert not [each for each in target.root.rglob("*") if each.stat().st_mode & 0o077]
    left = {each.name for each in target.root.iterdir()}
    assert left == {"db", "media", "run", "logs"}


def test_it_goes_to_another_kind_of_database_and_back(
    parley: Parley,
    installation: Any,
    place: Path,
    postgresql: dict[str, str],
    stages: Any,
    tmp_path: Path,
):
    there = Parley(installation("there", postgresql))
    restore(there.installation, place, stages, Wanted())
    assert there.all_rows() == parley.all_rows()
    made = make(there.installation, tmp_path / "again", stages)
    assert made.services["history"].kind == "PostgreSQL"
    back = Parley(installation("back"))
    restore(back.installation, tmp_path / "again", stages, Wanted())
    assert back.all_rows() == parley.all_rows()
    assert files(back, "media", "audit") == files(parley, "media", "audit")


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "manifest"])
def test_a_damaged_backup_changes_nothing(place: Path, target: Parley, stages: Any, damage: str):
    file = place / (NAME if damage == "manifest" else "db/history.sqlite3")
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 0x20
        file.write_bytes(data)
    with pytest.raises(DamagedBackupError):
        restore(target.installation, place, stages, Wanted())
    assert_untouched(target)


def test_a_backup_damaged_between_the_look_and_the_copy_is_refused(
    place: Path, target: Parley, stages: Any, monkeypatch: pytest.MonkeyPatch
):
    verify = sources.verify

    def then_damaged(source: Any, told: Any) -> None:
        verify(source, told)
        file = place / "db" / "user.sqlite3"
        data = bytearray(file.read_bytes())
        data[5000] ^= 1
        file.write_bytes(data)

    monkeypatch.setattr(sources, "verify", then_damaged)
    with pytest.raises(DamagedBackupError, match="while it was restored"):
        restore(target.installation, place, stages, Wanted())
    assert_untouched(target)


def test_a_newer_parleys_backup_is_refused(place: Path, target: Parley, stages: Any):
    content = json.loads((place / NAME).read_bytes())
    content["services"]["history"]["revision"] = "9999"
    (place / NAME).write_bytes(signed(content))
    with pytest.raises(UnfitBackupError, match="newer Parley"):
        restore(target.installation, place, stages, ANYTHING)
    assert_untouched(target)


def test_a_service_that_this_version_has_not_is_a_newer_ones(
    place: Path, target: Parley, stages: Any
):
    content = json.loads((place / NAME).read_bytes())
    content["services"]["billing"] = content["services"]["user"]
    (place / NAME).write_bytes(signed(content))
    with pytest.raises(UnfitBackupError, match="billing"):
        restore(target.installation, place, stages, ANYTHING)


def test_an_older_backup_is_brought_forward(some: Any, target: Parley, stages: Any, tmp_path: Path):
    """Of a version before the last revision: what it had is there, in today's tables."""
    from alembic import command
    from alembic.config import Config

    from admin.schema import connected

    older = some("older")
    accounts = older.rows("user")["accounts"]
    keeper = older.installation.keeper("user")
    config = Config()
    config.set_main_option("script_location", str(keeper.migrations))
    config.set_main_option("path_separator", "os")
    with connected(keeper.url) as connection:
        # The table that the last revision made.
        connection.exec_driver_sql("DROP TABLE erasures")
        config.attributes["connection"] = connection
        command.stamp(config, "0001")
        connection.commit()
    assert look(keeper).standing is Standing.BEHIND
    make(older.installation, tmp_path / "old", stages)
    restore(target.installation, tmp_path / "old", stages, Wanted())
    assert look(target.installation.keeper("user")).standing is Standing.CURRENT
    assert target.rows("user")["accounts"] == accounts


@pytest.mark.parametrize("what", ["rows", "recordings"])
def test_what_is_there_is_not_replaced_unasked(
    place: Path, installation: Any, database: dict[str, str], stages: Any, what: str
):
    target = filled(installation("target", database))
    if what == "recordings":
        shutil.rmtree(target.root / "db", ignore_errors=True)
        if database:
            return
    before = files(target, "keys", "media")
    with pytest.raises(UnfitBackupError, match="There is data already"):
        restore(target.installation, place, stages, Wanted())
    assert files(target, "keys", "media") == before


def test_asked_to_it_replaces_what_is_there_and_sets_it_aside(
    place: Path, parley: Parley, installation: Any, database: dict[str, str], stages: Any
):
    target = filled(installation("target", database))
    target.put("user", ACCOUNTS, account("somebody else"))
    target.original("rec-anna").write_bytes(b"something else")
    done = restore(target.installation, place, stages, ANYTHING)
    assert target.all_rows() == parley.all_rows()
    assert target.original("rec-anna").read_bytes() == SAID
    assert done.set_aside is not None
    aside = {each.name for each in done.set_aside.iterdir()}
    assert {"objects", "spool"} <= aside
    assert ("user.sqlite3" in aside) == (not database)
    there = done.set_aside / "objects" / "recordings" / "rec-anna" / "learner.flac"
    assert there.read_bytes() == b"something else"


def test_no_old_write_ahead_log_is_taken_for_the_new_files(
    place: Path, parley: Parley, some: Any, stages: Any
):
    target = some("target")
    log = target.root / "db" / "user.sqlite3-wal"
    log.write_bytes(b"of a Parley that was killed")
    restore(target.installation, place, stages, ANYTHING)
    assert not log.exists()
    assert target.rows("user") == parley.rows("user")


def test_a_broken_database_is_set_aside_where_that_is_asked(
    place: Path, parley: Parley, some: Any, stages: Any
):
    target = some("target")
    (target.root / "db" / "user.sqlite3").write_bytes(b"what a dying disk left" * 100)
    with pytest.raises(UnfitBackupError, match="cannot be read"):
        restore(target.installation, place, stages, Wanted())
    restore(target.installation, place, stages, ANYTHING)
    assert target.all_rows() == parley.all_rows()


def test_a_started_and_empty_parley_is_empty(place: Path, installation: Any, stages: Any):
    from admin.schema import bring_forward
    from services.user.keys import SigningKeys

    target = Parley(installation("target"))
    for keeper in target.installation.keepers:
        bring_forward(keeper)
    SigningKeys.open(target.installation.user.keys_dir)
    restore(target.installation, place, stages, Wanted())
    assert len(target.rows("user")["accounts"]) == 2


def test_a_running_parley_is_not_restored_over(place: Path, target: Parley, stages: Any):
    target.installation.folder.create()
    refused = pytest.raises(UnfitBackupError, match=r"127\.0\.0\.1:8080")
    with locked(target.installation.folder, "127.0.0.1:8080"), refused:
        restore(target.installation, place, stages, ANYTHING)
    assert_untouched(target)


def test_a_newer_parleys_database_is_not_touched(
    place: Path, installation: Any, postgresql: dict[str, str], stages: Any
):
    target = filled(installation("target", postgresql))
    set_revision(target.installation.keeper("media"), "9999")
    with pytest.raises(UnfitBackupError, match="newer Parley"):
        restore(target.installation, place, stages, ANYTHING)
    assert len(target.rows("user")["accounts"]) == 2


def test_one_that_broke_off_keeps_parley_from_starting_and_is_done_again(
    place: Path, parley: Parley, target: Parley, stages: Any, monkeypatch: pytest.MonkeyPatch
):
    def away(*_arguments: Any) -> Any:
        raise Unavailable("away", reason="STORAGE_UNAVAILABLE")

    with monkeypatch.context() as patch:
        patch.setattr("services.media.adapters.objects.Objects.put", away)
        with pytest.raises(AdminError, match="cannot be put into its store"):
            restore(target.installation, place, stages, Wanted())
    monkeypatch.setenv("PARLEY_DATA_DIR", str(target.root))
    assert plan().folder == target.installation.folder
    with pytest.raises(LauncherError, match="being restored"):
        run()
    restore(target.installation, place, stages, Wanted())
    assert target.all_rows() == parley.all_rows()
    assert not target.installation.folder.restoring.exists()
    assert not (target.root / "restore.partial").exists()


def test_accounts_that_the_trail_says_were_deleted_are_erased_again(
    place: Path, target: Parley, stages: Any, tmp_path: Path
):
    trail = tmp_path / "trail"
    trail.mkdir()
    (trail / "2026-01-01.jsonl").write_text(
        '{"event": "account_deleted", "user_id": "nobody in the backup"}\n'
        '{"event": "signed_in", "user_id": "0190-anna"}\n'
        f'{{"event": "account_deleted", "user_id": "{BEN}"}}\n'
        '{"event": "account_deleted", "user'
    )
    done = restore(target.installation, place, stages, Wanted(trails=(trail,)))
    assert done.erased == 1
    assert [each["user_id"] for each in target.rows("user")["accounts"]] == [ANNA]
    (erasure,) = target.rows("user")["erasures"]
    assert erasure["user_id"] == BEN
    assert erasure["next_attempt_at"] <= datetime.now(UTC)


def test_the_trail_that_is_still_there_is_read_and_kept(parley: Parley, place: Path, stages: Any):
    trail = parley.root / "audit" / "user" / "2026-01-02.jsonl"
    trail.parent.mkdir(parents=True)
    trail.write_text(f'{{"event": "account_deleted", "user_id": "{ANNA}"}}\n')
    done = restore(parley.installation, place, stages, ANYTHING)
    assert done.erased == 1
    assert [each["user_id"] for each in parley.rows("user")["accounts"]] == [BEN]
    assert trail.exists()


def say(trail: Path, *said: dict[str, Any]) -> None:
    trail.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(each)}\n" for each in said)
    (trail / "2026-01-02.jsonl").write_text(f'{lines}[]\n{{"event": "conversation_deleted", "conv')


def test_what_learners_deleted_one_by_one_is_deleted_again(
    some: Any, target: Parley, stages: Any, tmp_path: Path
):
    parley = some("data")
    parley.change(
        "history",
        ConversationRow.__table__,
        ConversationRow.conversation_id == "talk-anna",
        recording_id="rec-anna",
        preview="a secret",
    )
    parley.put("history", TurnRow.__table__, spoken("talk-anna", "a secret"))
    parley.put("conversation", OutboxRow.__table__, waiting("talk-anna", b"a secret"))
    parley.put("conversation", OutboxRow.__table__, waiting("talk-ben", b"something else"))
    make(parley.installation, tmp_path / "b", stages)
    audit = tmp_path / "copied" / "audit"
    talks = [
        {"event": "conversation_deleted", "user_id": ANNA, "conversation_id": "talk-anna"},
        {"event": "conversation_deleted", "user_id": ANNA, "conversation_id": "unknown"},
        {"event": "conversation_expired", "user_id": BEN, "conversation_id": "talk-ben"},
        {"event": "conversation_deleted", "conversation_id": 7},
    ]
    say(audit / "history", *talks)
    say(
        audit / "media",
        {"event": "recording_deleted", "recording_id": "rec-ben", "user_id": BEN},
        {"event": "recording_expired", "recording_id": "rec-live"},
    )
    done = restore(target.installation, tmp_path / "b", stages, Wanted(trails=(audit,)))
    assert (done.erased, done.deleted) == (0, 2)
    history = target.rows("history")
    assert {
        each["conversation_id"]: bool(each["deleted_at"]) for each in history["conversations"]
    } == {
        "talk-anna": True,
        "talk-ben": False,
    }
    assert history["turns"] == []
    # Its recording goes as when she deleted it: media is told at the first start.
    assert [(each["type"], each["payload"]) for each in history["outbox"]] == [
        ("recording_deleted", b"rec-anna")
    ]
    media = {each["recording_id"]: each for each in target.rows("media")["recordings"]}
    assert {name for name, each in media.items() if each["deleted_at"]} == {"rec-ben"}
    assert media["rec-ben"]["waveform"] == b""
    talk_tables = target.rows("conversation")
    assert talk_tables["conversations"] == []
    assert [each["aggregate_id"] for each in talk_tables["outbox"]] == ["talk-ben"]
    assert "a secret" not in str(target.all_rows())


def test_what_was_deleted_while_the_backup_was_taken_its_own_trail_says(
    some: Any, target: Parley, stages: Any, tmp_path: Path
):
    parley = some("data")
    say(
        parley.root / "audit" / "media",
        {"event": "recording_deleted", "recording_id": "rec-anna", "user_id": ANNA},
    )
    make(parley.installation, tmp_path / "b.tar", stages)
    assert restore(target.installation, tmp_path / "b.tar", stages, Wanted()).deleted == 1


def test_whoever_registered_during_the_backup_leaves_nothing_ownerless(
    parley: Parley, target: Parley, stages: Any, tmp_path: Path
):
    parley.put("conversation", Talk.__table__, talk("talk-late", "late"))
    deleted = {**recording("rec-old", "erased long ago", "ready"), "deleted_at": MORNING}
    parley.put("media", RecordingRow.__table__, deleted)
    make(parley.installation, tmp_path / "b", stages)
    done = restore(target.installation, tmp_path / "b", stages, Wanted())
    assert done.erased == 1
    assert [each["user_id"] for each in target.rows("user")["erasures"]] == ["late"]


def test_an_erasure_under_way_goes_on_as_it_was(
    parley: Parley, target: Parley, stages: Any, tmp_path: Path
):
    from services.user.adapters.tables import ERASURES

    under_way = {
        "user_id": "late",
        "requested_at": MORNING,
        "attempts": 3,
        "next_attempt_at": MORNING,
    }
    parley.put("user", ERASURES, under_way)
    parley.put("conversation", Talk.__table__, talk("talk-late", "late"))
    make(parley.installation, tmp_path / "b", stages)
    restore(target.installation, tmp_path / "b", stages, Wanted())
    assert target.rows("user")["erasures"] == [under_way]


def test_everybody_can_be_signed_out(place: Path, target: Parley, stages: Any):
    restore(target.installation, place, stages, Wanted(sign_out=True))
    rows = target.rows("user")
    assert (rows["sessions"], rows["refresh_tokens"]) == ([], [])
    assert len(rows["accounts"]) == 2


def test_one_without_recordings_leaves_those_that_are_there(
    parley: Parley, stages: Any, tmp_path: Path
):
    make(parley.installation, tmp_path / "b", stages, with_recordings=False)
    restore(parley.installation, tmp_path / "b", stages, ANYTHING)
    assert parley.original("rec-anna").read_bytes() == SAID
    assert parley.spool("rec-live").is_dir()


def spoken(conversation_id: str, said: str) -> dict[str, Any]:
    return {
        "turn_id": f"turn of {conversation_id}",
        "conversation_id": conversation_id,
        "number": 1,
        "started_at": MORNING,
        "occurred_at": MORNING,
        "event_id": "one",
        "learner_text": said,
        "tutor_text": said,
        "words": 2,
        "speech_ms": 900,
        "silence_ms": None,
        "body": said.encode(),
    }


def waiting(conversation_id: str, payload: bytes) -> dict[str, Any]:
    return {
        "event_id": f"event of {conversation_id}",
        "aggregate_id": conversation_id,
        "sequence": 1,
        "type": "turn_finished",
        "payload": payload,
        "created_at": MORNING,
        "next_attempt_at": MORNING,
    }


def assert_untouched(target: Parley) -> None:
    made = [each for each in target.root.rglob("*") if each.is_file()]
    assert {each.name for each in made} <= {"launcher.lock"}
