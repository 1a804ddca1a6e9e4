"""Whether tables are this version's is known without touching them, and mended by one command."""

from __future__ import annotations

from pathlib import Path

import pytest

from admin.errors import AdminError
from admin.installation import Installation
from admin.schema import Standing, bring_forward, connected, look, newest_revision
from tests.unit.admin.test_databases import set_revision


def change(installation: Installation, service: str, statement: str) -> None:
    with connected(installation.keeper(service).url) as connection:
        connection.exec_driver_sql(statement)
        connection.commit()


def test_looking_makes_nothing(installation, tmp_path: Path):
    for keeper in installation().keepers:
        found = look(keeper)
        assert (found.standing, found.revision) == (Standing.ABSENT, None)
    assert list(tmp_path.iterdir()) == []


def test_looking_makes_no_schema_on_a_server(installation, postgresql: dict[str, str]):
    keeper = installation("data", postgresql).keeper("media")
    assert look(keeper).standing is Standing.ABSENT
    with connected(keeper.url) as connection:
        schemas = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'parley%%'"
        )
        assert schemas.scalar() == 0


def test_brought_forward_every_service_is_current_and_has_not_drifted(
    installation, database: dict[str, str]
):
    for keeper in installation("data", database).keepers:
        bring_forward(keeper)
        found = look(keeper)
        assert (found.standing, found.drift) == (Standing.CURRENT, ())
        assert found.revision == found.newest == newest_revision(keeper)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TABLE erasures", "table erasures is missing"),
        ("CREATE TABLE mine (id integer)", "table mine is in no model"),
        ("ALTER TABLE sessions ADD COLUMN mine integer", "column sessions.mine is in no model"),
        ("ALTER TABLE accounts DROP COLUMN preferences", "column accounts.preferences is missing"),
        (
            "DROP INDEX ix_sessions_user_id_created_at",
            "index ix_sessions_user_id_created_at of sessions is missing",
        ),
        (
            "CREATE INDEX mine ON sessions (device_name)",
            "index mine of sessions is in no model",
        ),
    ],
)
def test_what_somebody_changed_by_hand_is_named(
    installation, database: dict[str, str], statement: str, said: str
):
    described = installation("data", database)
    keeper = described.keeper("user")
    bring_forward(keeper)
    change(described, "user", statement)
    found = look(keeper)
    assert found.standing is Standing.DRIFTED
    assert said in found.drift


def test_a_changed_type_is_named(installation, postgresql: dict[str, str]):
    described = installation("data", postgresql)
    keeper = described.keeper("user")
    bring_forward(keeper)
    change(described, "user", "ALTER TABLE accounts ALTER COLUMN username DROP NOT NULL")
    assert look(keeper).drift == (
        "column accounts.username is character varying(254), not character varying(254) NOT NULL",
    )


def test_everything_else_that_was_made_otherwise_is_named(installation, postgresql: dict[str, str]):
    described = installation("data", postgresql)
    for service, statement, said in (
        (
            "history",
            "ALTER TABLE outbox ALTER COLUMN refusal DROP DEFAULT",
            (
                "column outbox.refusal is character varying(400) NOT NULL, "
                "not character varying(400) NOT NULL DEFAULT ''::character varying"
            ),
        ),
        (
            "media",
            "ALTER TABLE tracks DROP CONSTRAINT tracks_pkey",
            "primary key tracks_pkey of tracks is missing",
        ),
        (
            "user",
            "ALTER TABLE sessions DROP CONSTRAINT fk_sessions_user_id_accounts",
            "foreign key fk_sessions_user_id_accounts of sessions is missing",
        ),
        (
            "conversation",
            "ALTER TABLE turns DROP CONSTRAINT uq_turns_conversation_id",
            "unique key uq_turns_conversation_id of turns is missing",
        ),
    ):
        keeper = described.keeper(service)
        bring_forward(keeper)
        change(described, service, statement)
        assert look(keeper).drift == (said,)
    change(described, "history", "DROP INDEX ix_search_index_words")
    assert (
        "index ix_search_index_words of search_index is missing"
        in look(described.keeper("history")).drift
    )
    # Looking left nothing.
    with connected(described.keeper("history").url) as connection:
        temporary = "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"
        assert connection.exec_driver_sql(temporary).scalar() == 0


def test_without_its_search_index_history_has_drifted(installation, database: dict[str, str]):
    described = installation("data", database)
    keeper = described.keeper("history")
    bring_forward(keeper)
    change(described, "history", "CREATE TABLE my_search_index_copy (id integer)")
    change(described, "history", "DROP TABLE search_index")
    drift = look(keeper).drift
    assert "table search_index is missing" in drift
    assert "table my_search_index_copy is in no model" in drift


def test_keys_and_defaults_that_a_file_lacks_are_named(installation):
    """What was made by hand in the place of a table that was lost."""
    described = installation()
    keeper = described.keeper("history")
    bring_forward(keeper)
    for statement in (
        "DROP TABLE practice",
        (
            "CREATE TABLE practice (conversation_id VARCHAR(36) NOT NULL REFERENCES "
            "conversations(conversation_id), quarter INTEGER NOT NULL, "
            "user_id VARCHAR(36) NOT NULL, turns INTEGER NOT NULL DEFAULT 1, "
            "words INTEGER NOT NULL, spoken_words INTEGER NOT NULL, speech_ms BIGINT NOT NULL, "
            "silences BLOB NOT NULL, corrections JSON NOT NULL)"
        ),
        "CREATE UNIQUE INDEX ix_practice_user ON practice (user_id, quarter DESC)",
        "ANALYZE",
    ):
        change(described, "history", statement)
    assert look(keeper).drift == (
        "column practice.turns is INTEGER NOT NULL DEFAULT 1, not INTEGER NOT NULL",
        (
            "foreign key (conversation_id) of practice is to conversations (conversation_id), on "
            "delete NO ACTION, on update NO ACTION, not to conversations (conversation_id), on "
            "delete CASCADE, on update NO ACTION"
        ),
        (
            "index ix_practice_user of practice is unique (user_id, quarter descending), "
            "not (user_id, quarter)"
        ),
        "primary key of practice is missing",
    )


def test_an_unknown_revision_is_a_newer_ones(installation, database: dict[str, str]):
    keeper = installation("data", database).keeper("user")
    bring_forward(keeper)
    set_revision(keeper, "9999")
    assert look(keeper).standing is Standing.AHEAD


def test_an_older_revision_is_behind(installation, database: dict[str, str]):
    keeper = installation("data", database).keeper("user")
    bring_forward(keeper)
    set_revision(keeper, "0001")
    assert look(keeper).standing is Standing.BEHIND


def test_a_server_that_is_away_is_one_sentence_without_the_password(installation):
    url = "postgresql://parley:secret-word@127.0.0.1:1/parley"
    keeper = installation("data", {"PARLEY_POSTGRESQL_URL": url}).keeper("user")
    with pytest.raises(AdminError) as caught:
        look(keeper)
    assert "user service (PostgreSQL)" in caught.value.message
    assert "secret-word" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_sentence(installation):
    keeper = installation().keeper("user")
    assert keeper.file is not None
    keeper.file.parent.mkdir(parents=True)
    keeper.file.write_bytes(b"something else" * 100)
    with pytest.raises(AdminError, match="not a database"):
        look(keeper)
