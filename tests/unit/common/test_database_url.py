"""Where the data is: what a host writes, what a service gets, and what is refused."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import make_url

from services.common.database_url import DatabaseUrlError, postgresql_url, schema_of
from services.common.settings import ServiceSettings, SettingsError


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_each_service_gets_a_schema_of_its_own(scheme: str):
    url = make_url(postgresql_url(f"{scheme}://ann:s%2Fecret@db:5433/parley", "user"))
    assert (url.drivername, url.host, url.port) == ("postgresql+psycopg", "db", 5433)
    assert (url.database, url.password) == ("parley", "s/ecret")
    assert schema_of(url) == "parley_user"


def test_options_of_the_host_are_kept():
    written = "postgresql://db/parley?sslmode=verify-full&options=-cstatement_timeout%3D9s"
    url = make_url(postgresql_url(written, "media"))
    assert url.query["sslmode"] == "verify-full"
    assert url.query["options"] == "-cstatement_timeout=9s -csearch_path=parley_media"


def test_a_server_that_is_gone_without_a_word_is_given_up_in_seconds():
    """A host may say otherwise."""
    url = make_url(postgresql_url("postgresql://db/parley?connect_timeout=60", "user"))
    assert url.query["tcp_user_timeout"] == "10000"
    assert url.query["keepalives_idle"] == "10"
    assert url.query["connect_timeout"] == "60"


def test_another_database_has_no_schema():
    assert schema_of(make_url("sqlite+aiosqlite:///x.sqlite3")) is None


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("db.example:5432/parley", "is no URL"),
        ("mysql://db/parley", "names mysql"),
        ("sqlite:///x.sqlite3", "names sqlite"),
        ("postgresql://ann:hunter2@db", "names no database"),
    ],
)
def test_what_cannot_be_used_is_refused_without_the_password(written: str, says: str):
    with pytest.raises(DatabaseUrlError, match=says) as caught:
        postgresql_url(written, "user")
    assert "hunter2" not in str(caught.value)


def test_a_missing_driver_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.common.database_url.find_spec", lambda name: None)
    with pytest.raises(DatabaseUrlError, match=r"psycopg.*pip install"):
        postgresql_url("postgresql://db/parley", "user")


class Sample(ServiceSettings):
    service = "sample"


def test_a_wrong_url_stops_the_start_by_the_variables_name():
    with pytest.raises(SettingsError, match=r"PARLEY_POSTGRESQL_URL.*names no database") as caught:
        Sample.load({"PARLEY_POSTGRESQL_URL": "postgresql://ann:hunter2@db"})
    assert "hunter2" not in str(caught.value)
