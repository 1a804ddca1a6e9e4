"""`parley admin …` as a host types it: what is printed, and the exit status."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from typer.testing import CliRunner

from admin.commands import app
from admin.errors import ExitCode
from services.common.outbox import OutboxMixin
from services.common.redis.streams import dead_letters_of
from services.conversation.adapters.tables import OutboxRow
from services.history.adapters.tables import ConversationRow, SearchTextRow, TurnRow
from services.history.adapters.tables import OutboxRow as HistoryOutbox
from services.media.adapters.sealing_keys import new_key
from services.media.adapters.tables import RecordingRow
from services.user.adapters.tables import ACCOUNTS
from tests.ports import free_ports
from tests.unit.admin.parleys import ANNA, MORNING, Parley, conversation, filled, recording
from tests.unit.admin.test_databases import set_revision
from tests.unit.admin.test_schema import change

Typed = Callable[..., Any]


@pytest.fixture
def typed(data_dir: Path) -> Iterator[Typed]:
    """Return what types a command for the Parley in the data folder."""
    umask, logs = os.umask(0o077), structlog.get_config()
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    runner = CliRunner(env={"COLUMNS": "200"})
    yield lambda *words: runner.invoke(app, list(words), catch_exceptions=False)
    # A command sets up its process, which is the tests' here.
    os.umask(umask)
    structlog.configure(**logs)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def event(event_id: str, **values: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "aggregate_id": "talk",
        "sequence": 1,
        "type": "turn_finished",
        "payload": b"words",
        "created_at": datetime.now(UTC),
        "attempts": 0,
        "next_attempt_at": MORNING,
        "refusal": "",
        **values,
    }


def refuse(parley: Parley, service: str, table: type[OutboxMixin], *event_ids: str) -> None:
    refused = {"refused_at": MORNING, "refusal": "EVENT_INVALID: No such turn."}
    rows = [event(each, **refused) for each in event_ids]
    parley.put(service, table.__table__, *rows)  # type: ignore[attr-defined]


def put_turn(parley: Parley, turn_id: str) -> None:
    turn = {
        "turn_id": turn_id,
        "conversation_id": "talk-anna",
        "number": 1,
        "started_at": MORNING,
        "occurred_at": MORNING,
        "event_id": "told",
        "learner_text": "Hello",
        "tutor_text": "Hi",
        "words": 1,
        "speech_ms": 500,
        "body": b"",
    }
    parley.put("history", TurnRow.__table__, turn)


def text(turn_id: str, **values: Any) -> dict[str, Any]:
    """Return a text as a version before segments put it, unless `values` say otherwise."""
    return {"conversation_id": "talk-anna", "turn_id": turn_id, "tutor": False, **values}


class TestStatus:
    def test_nothing_is_no_fault(self, typed: Typed, data_dir: Path):
        done = typed("status")
        assert done.exit_code == 0
        assert "does not run" in done.stdout
        assert list(data_dir.iterdir()) == []

    def test_all_is_told(self, typed: Typed, parley: Parley):
        done = typed("status", "--json")
        assert done.exit_code == 0, done.stdout
        found = {each["what"]: each for each in map(json.loads, done.stdout.splitlines())}
        assert found["accounts"]["figures"]["accounts"] == 2
        assert found["transcripts"]["figures"]["conversations"] == 2
        assert found["recordings"]["figures"]["recordings"] == 3
        assert found["data of user"]["figures"]["standing"] == "current"
        assert found["store of recordings"]["ok"] is True
        assert found["store of recordings"]["figures"]["spool_bytes"] == 1000
        assert found["events of conversation"]["figures"]["waiting"] == 0

    def test_events_that_wait_for_long_are_a_fault(self, typed: Typed, parley: Parley):
        parley.put("conversation", OutboxRow.__table__, event("new"))
        assert typed("status").exit_code == 0
        late = datetime.now(UTC) - timedelta(hours=3)
        parley.put("conversation", OutboxRow.__table__, event("old", created_at=late))
        done = typed("status")
        assert done.exit_code == ExitCode.WRONG
        assert "2 wait, the oldest for 3 h" in done.stdout

    def test_files_of_deleted_recordings_are_a_fault_when_they_do_not_go(
        self, typed: Typed, parley: Parley
    ):
        where = RecordingRow.recording_id == "rec-anna"
        table, now = RecordingRow.__table__, datetime.now(UTC)
        parley.change("media", table, where, deleted_at=now)
        done = typed("status")
        assert done.exit_code == 0
        assert "1 deleted with files still there, the first for" in done.stdout
        parley.change("media", table, where, deleted_at=now - timedelta(hours=3))
        done = typed("status")
        assert done.exit_code == ExitCode.WRONG
        assert "1 deleted with files still there, the first for 3 h" in done.stdout
        parley.change("media", table, where, purged_at=now)
        assert typed("status").exit_code == 0

    def test_dead_letters_are_a_fault(self, typed: Typed, parley: Parley):
        refuse(parley, "history", HistoryOutbox, "refused")
        done = typed("status")
        assert done.exit_code == ExitCode.WRONG
        assert "1 refused" in done.stdout
        assert "dead-letters list" in done.stdout

    def test_what_an_older_process_wrote_beside_this_version_is_a_fault(
        self, typed: Typed, parley: Parley
    ):
        put_turn(parley, "turn")
        parley.put("history", SearchTextRow.__table__, text("turn", segment_id=1))
        assert typed("status").exit_code == 0
        parley.put("history", SearchTextRow.__table__, text("turn", tutor=True))
        done = typed("status")
        assert done.exit_code == ExitCode.WRONG
        assert "no search finds 1 texts" in done.stdout
        assert "python -m services.history recount" in done.stdout

    def test_drift_is_a_fault(self, typed: Typed, parley: Parley):
        change(parley.installation, "user", "CREATE TABLE mine (id integer)")
        done = typed("status")
        assert done.exit_code == ExitCode.WRONG
        assert "table mine is in no model" in done.stdout

    def test_a_restore_that_broke_off_is_a_fault(self, typed: Typed, parley: Parley):
        parley.installation.folder.restoring.touch()
        assert typed("status").exit_code == ExitCode.WRONG

    def test_what_is_away_is_a_fault_and_the_rest_is_looked_at(
        self, typed: Typed, parley: Parley, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("PARLEY_REDIS_URL", "redis://:secret-word@127.0.0.1:1/0")
        monkeypatch.setenv(
            "PARLEY_MEDIA_POSTGRESQL_URL", "postgresql://me:secret-word@127.0.0.1:1/x"
        )
        monkeypatch.setenv("PARLEY_MEDIA_STORE_URL", "s3://bucket")
        monkeypatch.setenv("PARLEY_MEDIA_STORE_ENDPOINT", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-word")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        done = typed("status", "--json")
        assert done.exit_code == ExitCode.WRONG
        found = {each["what"]: each for each in map(json.loads, done.stdout.splitlines())}
        for what in ("Redis", "data of media", "store of recordings"):
            assert found[what]["ok"] is False, what
        assert found["data of user"]["ok"] is True
        assert "secret-word" not in done.stdout

    def test_servers_are_told_of(
        self,
        typed: Typed,
        postgresql: dict[str, str],
        redis_url: str,
        installation: Any,
        monkeypatch: pytest.MonkeyPatch,
    ):
        for name, value in postgresql.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PARLEY_REDIS_URL", redis_url)
        filled(installation("data", postgresql))
        done = typed("status", "--json")
        assert done.exit_code == 0, done.stdout
        found = {each["what"]: each for each in map(json.loads, done.stdout.splitlines())}
        assert found["data of user"]["figures"]["kind"] == "PostgreSQL"
        assert found["data of user"]["figures"]["bytes"] > 8192
        assert found["accounts"]["figures"]["accounts"] == 2
        assert found["Redis"]["figures"] == {"waiting": 0, "refused": 0}
        with redis.Redis.from_url(redis_url) as client:
            client.xadd(dead_letters_of("history"), {"payload": b"?", "why": b"no event"})
        done = typed("status")
        assert done.exit_code == ExitCode.WRONG
        assert "0 events on their way; 1 refused" in done.stdout
        assert "no event" in typed("dead-letters", "list").stdout
        assert "1 will be sent again" in typed("dead-letters", "replay", "--all").stdout

    def test_wrong_settings_are_wrong_use(self, typed: Typed, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("PARLEY_MEDIA_RETENTION_DAYS", "some")
        done = typed("status")
        assert done.exit_code == ExitCode.USAGE
        assert "PARLEY_MEDIA_RETENTION_DAYS" in done.stderr


class TestMigrate:
    def test_a_check_makes_nothing(self, typed: Typed, data_dir: Path):
        assert typed("migrate", "--check").exit_code == ExitCode.WRONG
        assert list(data_dir.iterdir()) == []

    def test_one_command_makes_all_tables(
        self, typed: Typed, database: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ):
        for name, value in database.items():
            monkeypatch.setenv(name, value)
        done = typed("migrate")
        assert done.exit_code == 0
        for service in ("user", "conversation", "history", "media"):
            assert service in done.stdout
        assert "nothing →" in done.stdout
        again = typed("migrate", "--check")
        assert again.exit_code == 0
        assert "→" not in again.stdout

    def test_drift_is_named_and_left(self, typed: Typed, parley: Parley):
        change(parley.installation, "user", "CREATE TABLE mine (id integer)")
        for words in (["migrate", "--check"], ["migrate"]):
            done = typed(*words)
            assert done.exit_code == ExitCode.WRONG
            assert "table mine is in no model" in done.stdout

    def test_a_newer_ones_tables_are_left(self, typed: Typed, parley: Parley):
        set_revision(parley.installation.keeper("history"), "9999")
        done = typed("migrate")
        assert done.exit_code == ExitCode.WRONG
        assert "newer Parley" in done.stderr


class TestDeadLetters:
    def test_where_nothing_is_nothing_is_made(self, typed: Typed, data_dir: Path):
        for words in (["list"], ["replay", "--all"]):
            assert typed("dead-letters", *words).exit_code == ExitCode.NOTHING
        assert list(data_dir.iterdir()) == []

    def test_those_of_all_services_are_shown_without_words(self, typed: Typed, parley: Parley):
        refuse(parley, "conversation", OutboxRow, "one")
        refuse(parley, "history", HistoryOutbox, "two")
        done = typed("dead-letters", "list")
        assert "one  conversation  turn_finished  of talk  5 bytes" in done.stdout
        assert "two  history" in done.stdout
        assert "2 refused" in done.stdout
        assert "words" not in done.stdout
        lines = [
            json.loads(each)
            for each in typed("dead-letters", "list", "--json").stdout.split("\n")
            if each
        ]
        assert [each["letter_id"] for each in lines] == ["one", "two"]

    def test_those_that_are_named_are_sent_again(self, typed: Typed, parley: Parley):
        refuse(parley, "conversation", OutboxRow, "one")
        refuse(parley, "history", HistoryOutbox, "two")
        assert "1 will be sent" in typed("dead-letters", "replay", "two").stdout
        assert typed("dead-letters", "replay", "nothing").exit_code == ExitCode.WRONG
        assert "1 will be sent" in typed("replay", "--all").stdout
        assert "0 refused" in typed("dead-letters", "list").stdout

    def test_without_redis_those_in_the_databases_are_shown_and_sent_again(
        self, typed: Typed, parley: Parley, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("PARLEY_REDIS_URL", f"redis://127.0.0.1:{free_ports(1)[0]}/0")
        refuse(parley, "conversation", OutboxRow, "one")
        done = typed("dead-letters", "list")
        assert done.exit_code == 0
        assert "one  conversation" in done.stdout
        assert "Redis does not answer: what came through it is not shown" in done.stderr
        done = typed("dead-letters", "replay", "one")
        assert done.exit_code == 0
        assert "1 will be sent again" in done.stdout
        assert "Redis does not answer" in done.stderr
        assert typed("dead-letters", "replay", "one").exit_code == ExitCode.WRONG

    def test_of_more_than_a_thousand_the_first_are_shown_and_it_is_said(
        self, typed: Typed, parley: Parley
    ):
        refuse(parley, "conversation", OutboxRow, *(f"{each:04}" for each in range(1_001)))
        refuse(parley, "history", HistoryOutbox, "two")
        done = typed("dead-letters", "list")
        assert "0999  conversation" in done.stdout
        assert "1000  conversation" not in done.stdout
        assert "two  history" in done.stdout
        assert "1,001 shown" in done.stdout
        assert "Of conversation there are more than 1,000" in done.stderr
        lines = typed("dead-letters", "list", "--json").stdout.splitlines()
        assert len(lines) == 1_001

    def test_which_must_be_said(self, typed: Typed, parley: Parley):
        assert typed("dead-letters", "replay").exit_code == ExitCode.USAGE
        assert typed("dead-letters", "replay", "one", "--all").exit_code == ExitCode.USAGE


class TestKeys:
    def test_where_there_are_none_none_are_made(self, typed: Typed, data_dir: Path):
        for words in (["list"], ["rotate"], ["rotate", "--compromised"]):
            assert typed("keys", *words).exit_code == ExitCode.NOTHING
        assert list(data_dir.iterdir()) == []

    def test_the_next_one_signs(self, typed: Typed, parley: Parley):
        before = typed("keys", "list").stdout.split()
        done = typed("keys", "rotate")
        assert done.exit_code == 0
        after = done.stdout.split()
        assert after[1] == before[before.index("next") + 1]
        assert "retired" in after
        # The new next one is not known everywhere yet.
        assert typed("keys", "rotate").exit_code == ExitCode.WRONG

    def test_after_a_leak_all_of_them_go(self, typed: Typed, parley: Parley):
        before = set(typed("keys", "list").stdout.split())
        done = typed("keys", "rotate", "--compromised")
        assert done.exit_code == 0
        assert "retired" not in done.stdout
        assert not {each for each in before & set(done.stdout.split()) if len(each) > 20}


class TestRetention:
    @pytest.fixture
    def old(self, parley: Parley) -> Parley:
        parley.put(
            "history", ConversationRow.__table__, conversation("new", ANNA, datetime.now(UTC))
        )
        now = {"started_at": datetime.now(UTC), "touched_at": datetime.now(UTC)}
        parley.put("media", RecordingRow.__table__, recording("new", ANNA, "ready") | now)
        return parley

    def test_where_nothing_is_there_is_nothing(self, typed: Typed):
        assert typed("retention").exit_code == ExitCode.NOTHING

    @pytest.mark.parametrize("days", ["0", "36501", "1000000"])
    def test_days_that_no_calendar_has_are_wrong_use(self, typed: Typed, old: Parley, days: str):
        done = typed("retention", "--days", days)
        assert done.exit_code == ExitCode.USAGE
        assert "'--days'" in done.stderr
        assert typed("retention", "--days", "36500").exit_code == ExitCode.OK

    @pytest.mark.parametrize("service", ["HISTORY", "MEDIA"])
    def test_nor_do_the_settings_take_them(
        self, typed: Typed, old: Parley, monkeypatch: pytest.MonkeyPatch, service: str
    ):
        monkeypatch.setenv(f"PARLEY_{service}_RETENTION_DAYS", "36501")
        done = typed("retention")
        assert done.exit_code == ExitCode.USAGE
        assert f"PARLEY_{service}_RETENTION_DAYS" in done.stderr

    def test_by_default_everything_is_kept(self, typed: Typed, old: Parley):
        done = typed("retention", "--apply")
        assert done.stdout.count("kept for ever") == 3
        assert "0 deleted" in done.stdout

    def test_what_would_go_is_shown_and_stays(self, typed: Typed, old: Parley):
        before = old.all_rows()
        done = typed("retention", "--days", "30")
        assert "conversations      kept 30 days       2 older, since 2026-03-04" in done.stdout
        assert "recordings         kept 30 days       3 older" in done.stdout
        assert old.all_rows() == before

    def test_the_settings_decide_where_no_days_are_named(
        self, typed: Typed, old: Parley, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("PARLEY_HISTORY_RETENTION_DAYS", "30")
        monkeypatch.setenv("PARLEY_MEDIA_RETENTION_DAYS", "30")
        # What they were when it was made is no matter.
        where = RecordingRow.recording_id == "rec-anna"
        old.change(
            "media", RecordingRow.__table__, where, delete_at=datetime.now(UTC) + timedelta(days=9)
        )
        done = typed("retention")
        assert "conversations      kept 30 days       2 older" in done.stdout
        assert "recordings         kept 30 days       3 older, since 2026-03-04" in done.stdout

    def test_what_was_kept_too_briefly_is_kept_when_the_settings_say_so(
        self, typed: Typed, old: Parley
    ):
        """A backup was restored, with recordings that were past their time then."""
        old.change(
            "media", RecordingRow.__table__, RecordingRow.recording_id != "", delete_at=MORNING
        )
        done = typed("retention", "--apply")
        assert "recordings         kept for ever      0 older" in done.stdout
        assert "0 deleted" in done.stdout

    def test_applied_it_is_gone_and_the_rest_is_not(self, typed: Typed, old: Parley):
        done = typed("retention", "--days", "30", "--apply")
        assert "5 deleted" in done.stdout
        alive = {
            each["conversation_id"]
            for each in old.rows("history")["conversations"]
            if each["deleted_at"] is None
        }
        assert alive == {"new"}
        heard = {
            each["recording_id"]
            for each in old.rows("media")["recordings"]
            if each["deleted_at"] is None
        }
        assert heard == {"new"}
        trail = (old.root / "audit" / "history").glob("*.jsonl")
        assert "conversation_expired" in "".join(each.read_text() for each in trail)
        assert "0 deleted" in typed("retention", "--days", "30", "--apply").stdout


class TestBackup:
    def test_there_and_back_by_commands(
        self, typed: Typed, parley: Parley, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        place = tmp_path / "backups" / "monday"
        place.parent.mkdir()
        done = typed("backup", str(place))
        assert done.exit_code == 0, done.stderr
        assert "accounts 2" in done.stdout
        seen = typed("verify", str(place))
        assert seen.exit_code == 0
        fingerprint = done.stdout.split("Fingerprint ")[1].strip()
        assert fingerprint in seen.stdout
        monkeypatch.setenv("PARLEY_DATA_DIR", str(tmp_path / "other"))
        back = typed("restore", str(place))
        assert back.exit_code == 0, back.stderr
        assert "Restored" in back.stdout
        assert typed("status").exit_code == 0

    def test_the_last_one_is_remembered(self, typed: Typed, parley: Parley, tmp_path: Path):
        assert "none yet" in typed("status").stdout
        typed("backup", str(tmp_path / "b"))
        assert f"to {tmp_path / 'b'}" in typed("status").stdout
        (parley.root / "last-backup.json").write_text("{}")
        assert "none yet" in typed("status").stdout

    def test_quiet_it_says_nothing(self, typed: Typed, parley: Parley, tmp_path: Path):
        done = typed("backup", "--quiet", str(tmp_path / "b.tar"))
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")

    def test_nothing_to_back_up_is_told(self, typed: Typed, tmp_path: Path):
        done = typed("backup", str(tmp_path / "b"))
        assert done.exit_code == ExitCode.NOTHING
        assert not (tmp_path / "b").exists()

    def test_damaged_recordings_are_named_and_have_the_same_status(
        self, typed: Typed, parley: Parley, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("PARLEY_MEDIA_SEALING_KEYS", new_key("host"))
        done = typed("backup", str(tmp_path / "b"))
        assert done.exit_code == ExitCode.INCOMPLETE
        assert "2 recordings" in done.stderr
        assert "rec-anna" in done.stderr

    def test_lost_recordings_are_named_and_have_a_status_of_their_own(
        self, typed: Typed, parley: Parley, tmp_path: Path
    ):
        parley.original("rec-anna").unlink()
        done = typed("backup", str(tmp_path / "b"))
        assert done.exit_code == ExitCode.INCOMPLETE
        assert "rec-anna" in done.stderr
        assert (tmp_path / "b" / "manifest.json").exists()

    def test_a_damaged_one_is_told_by_name(self, typed: Typed, parley: Parley, tmp_path: Path):
        typed("backup", str(tmp_path / "b"))
        (tmp_path / "b" / "db" / "user.sqlite3").write_bytes(b"else")
        for words in (["verify"], ["restore", "--replace"]):
            done = typed(*words, str(tmp_path / "b"))
            assert done.exit_code == ExitCode.WRONG
            assert "db/user.sqlite3" in done.stderr
        assert len(parley.rows("user")["accounts"]) == 2

    def test_data_that_is_there_is_told(self, typed: Typed, parley: Parley, tmp_path: Path):
        typed("backup", str(tmp_path / "b"))
        parley.change("user", ACCOUNTS, ACCOUNTS.c.user_id == ANNA, username="Changed")
        done = typed("restore", str(tmp_path / "b"))
        assert done.exit_code == ExitCode.WRONG
        assert "--replace" in done.stderr
        done = typed("restore", "--replace", str(tmp_path / "b"))
        assert done.exit_code == 0
        assert "before-restore-" in done.stdout

    def test_there_and_back_sealed(
        self, typed: Typed, parley: Parley, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        key, place = tmp_path / "backup.key", tmp_path / "sealed.tar"
        assert typed("keys", "new", str(key), "--name", "2026-11").exit_code == 0
        done = typed("backup", "--key-file", str(key), str(place))
        assert done.exit_code == 0, done.stderr
        assert "sealed by the key 2026-11" in done.stdout
        assert typed("verify", str(place)).exit_code == 0
        monkeypatch.setenv("PARLEY_DATA_DIR", str(tmp_path / "other"))
        done = typed("restore", str(place))
        assert (done.exit_code, "--key-file" in done.stderr) == (ExitCode.WRONG, True)
        done = typed("restore", "--key-file", str(tmp_path / "no.key"), str(place))
        assert done.exit_code == ExitCode.USAGE
        monkeypatch.setenv("PARLEY_BACKUP_KEY_FILE", str(key))
        assert typed("restore", str(place)).exit_code == 0
        assert typed("keys", "list").exit_code == 0

    def test_programs_can_read_it(self, typed: Typed, parley: Parley, tmp_path: Path):
        made = json.loads(typed("backup", "--json", str(tmp_path / "b")).stdout)
        seen = json.loads(typed("verify", "--json", str(tmp_path / "b")).stdout)
        back = json.loads(typed("restore", "--json", "--replace", str(tmp_path / "b")).stdout)
        assert (made.pop("missing"), made.pop("damaged")) == ([], [])
        assert made == seen
        assert back == {
            **made,
            "to": str(parley.root),
            "erased": 0,
            "deleted": 0,
            "set_aside": str(next(parley.root.glob("before-restore-*"))),
        }
        assert made["rows"]["user"]["accounts"] == 2

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_stopped_in_the_middle_it_leaves_nothing(
        self,
        typed: Typed,
        parley: Parley,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: signal.Signals,
    ):
        def stop(*_arguments: Any) -> None:
            signal.raise_signal(number)

        monkeypatch.setattr("admin.backup.recordings.copy_recordings", stop)
        (tmp_path / "backups").mkdir()
        # Whoever started the tests may have had them pass over Ctrl-C, as xdist does.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            done = typed("backup", str(tmp_path / "backups" / "b"))
        finally:
            signal.signal(signal.SIGINT, before)
        assert done.exit_code == ExitCode.ABORTED
        assert "Stopped." in done.stderr
        assert list((tmp_path / "backups").iterdir()) == []

    def test_a_restore_stopped_while_it_puts_in_place_says_so_and_is_done_again(
        self, typed: Typed, parley: Parley, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        typed("backup", str(tmp_path / "b"))
        monkeypatch.setenv("PARLEY_DATA_DIR", str(tmp_path / "other"))

        def stop(*_arguments: Any, **_more: Any) -> None:
            signal.raise_signal(signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr("admin.backup.restoring.put_in_place", stop)
            assert typed("restore", str(tmp_path / "b")).exit_code == ExitCode.ABORTED
        done = typed("status")
        assert done.exit_code == ExitCode.WRONG
        assert "Give the same `parley admin restore` again." in done.stdout
        assert typed("restore", str(tmp_path / "b")).exit_code == 0
        assert typed("status").exit_code == 0

    def test_a_trail_that_is_not_there_is_told(self, typed: Typed, parley: Parley, tmp_path: Path):
        typed("backup", str(tmp_path / "b"))
        done = typed("restore", "--deletions", str(tmp_path / "no"), str(tmp_path / "b"))
        assert done.exit_code == ExitCode.WRONG


def test_help_names_every_command(typed: Typed):
    said = typed("--help").stdout
    for name in ("status", "migrate", "backup", "verify", "restore", "retention", "keys"):
        assert name in said
    for name in ("backup", "restore"):
        assert "Examples:" in typed(name, "--help").stdout
