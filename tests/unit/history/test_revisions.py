"""Bringing a database that holds turns already to the newest revision."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event, make_url, text

from services.common.clock import ManualClock
from services.common.database import Database, configure_sqlite
from services.common.migrations import migrate
from services.common.outbox import Outbox
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import OutboxRow
from services.history.bootstrap import MIGRATIONS
from services.history.recounting import recount
from services.history.search import parse_query
from tests.postgres import empty_database

USER, OTHER = "user-1", "user-2"
BEGAN = datetime(2026, 3, 28, 23, 50, tzinfo=UTC)


def revise(url: str, revision: str, then: Any) -> None:
    """Bring the database to `revision` and call `then` with a connection."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        parsed = parsed.set(drivername="sqlite")
    engine = create_engine(parsed)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", configure_sqlite)
        event.listen(engine, "begin", lambda each: each.exec_driver_sql("BEGIN IMMEDIATE"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            then(connection)
            connection.commit()
    finally:
        engine.dispose()


def found_before(connection: Any, user_id: str) -> int:
    """Search for "said apple" as a service of the second revision would; return how many."""
    if connection.dialect.name == "sqlite":
        wanted = (
            "SELECT rowid FROM search_index WHERE search_index MATCH "
            "'owner : \"' || :owner || '\" AND words : (' || :words || ')' "
            "ORDER BY bm25(search_index, 0.0, 1.0), rowid DESC"
        )
        values = {"owner": f"u{user_id.replace('-', '')}", "words": '"said apple"'}
    else:
        wanted = (
            "SELECT rowid FROM search_index "
            "WHERE words @@ (CAST(:owner AS tsquery) && CAST(:words AS tsquery)) "
            "ORDER BY ts_rank_cd(words, CAST(:words AS tsquery)) DESC, rowid DESC"
        )
        values = {"owner": f"'owner-{user_id}'", "words": "'said' <-> 'apple'"}
    return len(connection.execute(text(wanted), values).all())


def tell(connection: Any) -> None:
    """Write what a service of the second revision would have: 1,500 turns of one, 2 of another."""
    sqlite = connection.dialect.name == "sqlite"

    def run(statement: str, *rows: dict[str, Any]) -> None:
        connection.execute(text(statement), list(rows))

    def at(minutes: float) -> Any:
        moment = BEGAN + timedelta(minutes=minutes)
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f") if sqlite else moment

    conversations = {"c-1": USER, "c-2": USER, "c-3": OTHER, "c-gone": USER}
    run(
        "INSERT INTO conversations (conversation_id, user_id, sort_at, started, scenario_id, "
        "scenario_title, engine, voice, recording_id, turns, learner_speech_ms, median_silence_ms, "
        "corrections, preview) VALUES (:c, :u, :at, true, '', '', '', '', '', 0, 0, 0, 0, '')",
        *({"c": each, "u": user, "at": at(0)} for each, user in conversations.items()),
    )
    turns = [("c-1", number) for number in range(1, 1_501)]
    turns += [("c-2", 1), ("c-3", 1), ("c-3", 2)]
    told: list[dict[str, Any]] = []
    sides: list[dict[str, Any]] = []
    for conversation_id, number in turns:
        turn = {
            "t": f"{conversation_id}-{number}",
            "c": conversation_id,
            "n": number,
            "at": at(number / 10),
            "words": 0 if number == 3 else 4,
            "speech": 0 if number % 2 else 1_500,
            "silence": None if number == 2 else 100 + number,
            "body": b"turn",
        }
        told.append(turn)
        for tutor, said in ((False, ["i", "said", "apple"]), (True, ["good"])):
            owner = conversations[conversation_id]
            places = " ".join(f"'{word}':{place}" for place, word in enumerate(said, 1))
            index = (
                (f"u{owner.replace('-', '')}", " ".join(said))
                if sqlite
                else (f"'owner-{owner}'", places)
            )
            side = {"id": len(sides) + 1, "tutor": tutor, "owner": index[0], "words": index[1]}
            sides.append(turn | side)
    run(
        "INSERT INTO turns VALUES (:t, :c, :n, :at, :at, 'e', 'I said apple', 'Good', :words, "
        ":speech, :silence, :body)",
        *told,
    )
    run(
        "INSERT INTO search_texts (id, conversation_id, turn_id, tutor) "
        "VALUES (:id, :c, :t, :tutor)",
        *sides,
    )
    if sqlite:
        run("INSERT INTO search_index (rowid, owner, words) VALUES (:id, :owner, :words)", *sides)
    else:
        run(
            "INSERT INTO search_index VALUES "
            "(:id, CAST(:owner AS tsvector) || CAST(:words AS tsvector))",
            *sides,
        )
    run(
        "INSERT INTO mistakes (conversation_id, turn_id, user_id, kind, mistake_key, occurred_at, "
        "body) VALUES ('c-1', :t, 'user-1', :k, 'm', :at, :body)",
        *(
            {"t": turn_id, "k": kind, "at": at(9_000), "body": b"correction"}
            for turn_id, kind in (("c-1-1", 1), ("c-1-1", 1), ("c-1-2", 3), ("c-1-9999", 4))
        ),
    )
    if not sqlite:
        run(
            "SELECT setval(pg_get_serial_sequence('search_texts', 'id'), :last)",
            {"last": len(sides)},
        )


async def test_turns_that_are_there_are_added_up_and_found(
    database_url: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(revise, database_url, "0002", tell)
    await migrate(database_url, MIGRATIONS)
    async with Database.open(database_url) as database:
        clock = ManualClock()
        store = SqlStore(database, Outbox(OutboxRow, clock), clock)
        async with store.reading() as state:
            added_up = await state.practice(USER, 0, 2**31 - 1)
            practice = sorted(added_up, key=lambda each: each.quarter)
            assert sum(each.turns for each in practice) == 1_500  # and one is the tutor's alone
            (corrected,) = [each for each in practice if each.corrections]
            assert corrected.corrections == ((1, 2), (3, 1))
            assert corrected.silences_ms[:2] == (101, 104)  # 2 was not answered, 3 is the tutor's
            days = sorted(await state.practice_days(USER), key=lambda each: each.utc_day)
            assert [date(1970, 1, 1) + timedelta(days=each.utc_day) for each in days] == [
                date(2026, 3, 28),
                date(2026, 3, 29),
            ]
            for user_id, apples in ((USER, 1_501), (OTHER, 2)):
                found = await state.search(user_id, parse_query('"said apple"'), None, 5_000)
                assert len(found) == apples
        # As if it had been written by this version: counting it again changes nothing.
        async with database.snapshot() as session:
            rows = (await session.connection()).exec_driver_sql
            wanted = "SELECT * FROM practice ORDER BY conversation_id, quarter"
            before = (await rows(wanted)).all()
        await recount(store)
        async with database.snapshot() as session:
            rows = (await session.connection()).exec_driver_sql
            assert (await rows(wanted)).all() == before
            segments = (await rows("SELECT user_id, texts FROM search_segments")).all()
        assert sorted(tuple(each) for each in segments) == [
            (USER, 954),
            (USER, 1024),
            (USER, 1024),
            (OTHER, 4),
        ]


async def test_a_process_of_the_version_before_finds_what_it_found(database_url: str) -> None:
    found: list[int] = []

    def ask(connection: Any) -> None:
        found.extend(found_before(connection, user_id) for user_id in (USER, OTHER))

    await asyncio.to_thread(revise, database_url, "0002", tell)
    await asyncio.to_thread(revise, database_url, "0002", ask)
    await asyncio.to_thread(revise, database_url, "head", ask)
    assert found == [1_501, 2, 1_501, 2]


async def test_what_was_there_is_placed_beside_one_who_writes_and_one_who_deletes(
    postgres_url: str,
) -> None:
    with empty_database(postgres_url) as url:
        await asyncio.to_thread(revise, url, "0002", tell)
        await asyncio.to_thread(revise, url, "0004", lambda _: None)
        engine = create_engine(url)
        with engine.connect() as other:
            run = other.exec_driver_sql
            run("DELETE FROM search_index WHERE rowid = 3003")
            run("DELETE FROM search_texts WHERE id = 3005")
            run("DELETE FROM conversations WHERE conversation_id = 'c-gone'")
            run(
                "INSERT INTO turns SELECT 'new', conversation_id, 1501, started_at, occurred_at, "
                "event_id, learner_text, tutor_text, words, speech_ms, silence_ms, body "
                "FROM turns WHERE turn_id = 'c-1-1'"
            )
            run(
                "INSERT INTO search_texts (conversation_id, turn_id, tutor) "
                "VALUES ('c-1', 'new', false)"
            )
            # What waited for it would wait for ever.
            async with asyncio.timeout(30):
                await migrate(url, MIGRATIONS)
            other.commit()
            placed = run("SELECT user_id, texts FROM search_segments")
            assert sorted(tuple(each) for each in placed) == [
                (USER, 954),
                (USER, 1024),
                (USER, 1024),
                (OTHER, 2),
            ]
        engine.dispose()


async def test_what_was_broken_off_goes_on_where_it_was(database_url: str) -> None:
    def undo_a_part(connection: Any) -> None:
        run = connection.exec_driver_sql
        run("UPDATE search_texts SET segment_id = 0 WHERE conversation_id = 'c-3'")
        run("DELETE FROM search_segments WHERE user_id = 'user-2'")
        run("DELETE FROM practice WHERE conversation_id = 'c-3'")
        run("UPDATE alembic_version SET version_num = '0004'")

    def look(connection: Any) -> None:
        run = connection.exec_driver_sql
        assert run("SELECT count(*) FROM practice WHERE conversation_id = 'c-3'").scalar() == 1
        assert run("SELECT count(*) FROM search_texts WHERE segment_id = 0").scalar() == 0
        assert run("SELECT sum(texts) FROM search_segments").scalar() == 2 * 1_503

    await asyncio.to_thread(revise, database_url, "0002", tell)
    await asyncio.to_thread(revise, database_url, "0005", undo_a_part)
    await asyncio.to_thread(revise, database_url, "head", look)
