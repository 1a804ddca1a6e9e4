"""Whatever stands in any table comes out of a backup as it was, on either kind of database."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from admin.backup.databases import (
    bring_copy_forward,
    copy_out,
    put_in,
    rows_in,
    settle,
    url_of,
)
from admin.errors import AdminError, DamagedBackupError
from admin.installation import Installation, Keeper
from admin.schema import bring_forward, connected
from services.conversation.adapters.tables import OutboxRow
from services.user.adapters.tables import ACCOUNTS
from tests.unit.admin.parleys import ANNA, account, all_rows, fill_every_column, talk

SERVICES = ("user", "conversation", "history", "media")


def nobody(_size: int) -> None:
    pass


def rows_of(keeper: Keeper, file: Path | None = None) -> dict[str, list[dict[str, Any]]]:
    with connected(keeper.url if file is None else url_of(file)) as connection:
        return all_rows(connection, keeper.metadata)


@pytest.mark.parametrize("service", SERVICES)
def test_every_column_of_every_table_is_copied_as_it_is(
    installation, database: dict[str, str], tmp_path: Path, service: str
):
    keeper = installation("data", database).keeper(service)
    bring_forward(keeper)
    fill_every_column(keeper)
    copied = copy_out(keeper, tmp_path / "copy.sqlite3", nobody)
    assert rows_of(keeper, tmp_path / "copy.sqlite3") == rows_of(keeper)
    assert copied.rows == {table.name: 3 for table in keeper.metadata.sorted_tables}
    assert copied.kind == ("PostgreSQL" if database else "SQLite")


@pytest.mark.parametrize("service", SERVICES)
def test_every_column_comes_from_sqlite_to_postgresql_as_it_was(
    installation, postgresql: dict[str, str], tmp_path: Path, service: str
):
    here, there = installation().keeper(service), installation("other", postgresql).keeper(service)
    bring_forward(here)
    fill_every_column(here)
    file = tmp_path / "copy.sqlite3"
    copied = copy_out(here, file, nobody)
    bring_copy_forward(there, file, indexed=copied.indexed)
    put_in(there, file, nobody, replace=False)
    assert rows_of(there) == rows_of(here)
    assert rows_in(there) == rows_in(here) == 3 * len(here.metadata.sorted_tables)


def test_rows_are_numbered_on_from_those_that_were_put_in(
    installation, postgresql: dict[str, str], tmp_path: Path
):
    """The next event of a restored outbox was refused: its number was taken."""
    here = installation().keeper("conversation")
    there = installation("other", postgresql).keeper("conversation")
    bring_forward(here)
    fill_every_column(here)
    copy_out(here, tmp_path / "copy", nobody)
    put_in(there, tmp_path / "copy", nobody, replace=False)
    row = rows_of(there)["outbox"][-1]
    next_one = {**row, "event_id": "the next"}
    del next_one["position"]
    with connected(there.url) as connection:
        connection.execute(insert(OutboxRow.__table__), next_one)
        assert connection.scalar(select(func.max(OutboxRow.position))) == row["position"] + 1


def test_what_is_there_is_kept_unless_it_may_go(
    installation, postgresql: dict[str, str], tmp_path: Path
):
    here, there = installation().keeper("user"), installation("other", postgresql).keeper("user")
    for keeper in (here, there):
        bring_forward(keeper)
    put(there, account("somebody else"))
    put(here, account(ANNA))
    copy_out(here, tmp_path / "copy", nobody)
    with pytest.raises(AdminError, match="not empty"):
        put_in(there, tmp_path / "copy", nobody, replace=False)
    assert [each["user_id"] for each in rows_of(there)["accounts"]] == ["somebody else"]
    put_in(there, tmp_path / "copy", nobody, replace=True)
    assert [each["user_id"] for each in rows_of(there)["accounts"]] == [ANNA]


def test_one_moment_is_copied_while_others_write(
    installation, database: dict[str, str], tmp_path: Path
):
    """Every writer puts in two rows that belong together: a copy has both or neither."""
    keeper = installation("data", database).keeper("user")
    bring_forward(keeper)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            put(keeper, account(f"left-{number}"), account(f"right-{number}"))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for attempt in range(5):
            file = tmp_path / f"copy-{attempt}"
            copy_out(keeper, file, nobody)
            names = {str(each["user_id"]) for each in rows_of(keeper, file)["accounts"]}
            left = {each.removeprefix("left-") for each in names if each.startswith("left-")}
            right = {each.removeprefix("right-") for each in names if each.startswith("right-")}
            assert left == right
    finally:
        stop.set()
        writer.join()


def test_what_is_only_in_the_write_ahead_log_is_copied(installation, tmp_path: Path):
    keeper = installation().keeper("user")
    bring_forward(keeper)
    with connected(keeper.url) as reader:
        # An open reader keeps the log from going into the file.
        reader.scalar(select(func.count()).select_from(ACCOUNTS))
        put(keeper, account(ANNA))
        assert keeper.file is not None
        assert keeper.file.with_name("user.sqlite3-wal").stat().st_size
        copy_out(keeper, tmp_path / "copy", nobody)
    assert len(rows_of(keeper, tmp_path / "copy")["accounts"]) == 1


def test_a_settled_copy_is_one_file(installation, tmp_path: Path):
    keeper = installation().keeper("user")
    bring_forward(keeper)
    put(keeper, account(ANNA))
    copy_out(keeper, tmp_path / "copy", nobody)
    settle(tmp_path / "copy")
    assert [each.name for each in tmp_path.glob("copy*")] == ["copy"]
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


def test_broken_data_makes_no_backup(installation, tmp_path: Path):
    keeper = installation().keeper("conversation")
    bring_forward(keeper)
    with connected(keeper.url) as connection:
        connection.execute(insert(keeper.metadata.tables["conversations"]), talk("t", ANNA))
        connection.commit()
    assert keeper.file is not None
    with closing(sqlite3.connect(keeper.file)) as raw:
        # A turn of a talk that is not there: foreign keys are off for such a connection.
        raw.execute("INSERT INTO turns VALUES ('x', 'nowhere', 1, x'00', 0, 0)")
        raw.commit()
    with pytest.raises(DamagedBackupError, match="row of turns"):
        copy_out(keeper, tmp_path / "copy", nobody)


def test_tables_of_another_version_are_told_of(
    installation, database: dict[str, str], tmp_path: Path
):
    keeper = installation("data", database).keeper("user")
    bring_forward(keeper)
    set_revision(keeper, "9999")
    with pytest.raises(AdminError, match="newer Parley"):
        copy_out(keeper, tmp_path / "copy", nobody)


def test_no_tables_are_told_of(installation, tmp_path: Path):
    with pytest.raises(AdminError, match="no tables"):
        copy_out(installation().keeper("user"), tmp_path / "copy", nobody)
    assert list(tmp_path.iterdir()) == []


def put(keeper: Keeper, *rows: dict[str, object]) -> None:
    with connected(keeper.url) as connection:
        connection.execute(insert(ACCOUNTS), list(rows))
        connection.commit()


def set_revision(keeper: Keeper, revision: str) -> None:
    with connected(keeper.url) as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
        connection.commit()


def test_the_search_index_is_made_anew(
    installation: Callable[..., Installation], postgresql: dict[str, str], tmp_path: Path
):
    here = installation().keeper("history")
    there = installation("other", postgresql).keeper("history")
    bring_forward(here)
    fill_every_column(here)
    copied = copy_out(here, tmp_path / "copy", nobody)
    put_in(there, tmp_path / "copy", nobody, replace=False)
    with connected(there.url) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM search_index").scalar() == 3
    # And back: from there the index is not in the copy.
    assert copied.indexed
    back = copy_out(there, tmp_path / "back", nobody)
    assert not back.indexed
    bring_copy_forward(there, tmp_path / "back", indexed=False)
    with connected(url_of(tmp_path / "back")) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM search_index").scalar() == 3
