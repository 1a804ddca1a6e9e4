"""Settings of the media service."""

from pathlib import Path

import pytest

from services.common.settings import SettingsError
from services.media.settings import MediaSettings


def test_everything_is_below_the_data_folder_by_default(tmp_path: Path) -> None:
    settings = MediaSettings.load({"PARLEY_DATA_DIR": str(tmp_path)})
    assert settings.port == 50055
    for folder in (settings.spool_dir, settings.cache_dir, settings.uploads_dir):
        assert folder.is_relative_to(tmp_path)
    assert settings.effective_store_url == (tmp_path / "media" / "objects").as_uri()


def test_another_store_can_be_named() -> None:
    url = "s3://bucket/prefix"
    settings = MediaSettings.load({"PARLEY_MEDIA_STORE_URL": url})
    assert settings.effective_store_url == url


@pytest.mark.parametrize("url", ["/just/a/path", "ftp://host/x", "bucket"])
def test_a_store_of_no_known_kind_is_told_at_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match=r"PARLEY_MEDIA_STORE_URL.*must begin with one of"):
        MediaSettings.load({"PARLEY_MEDIA_STORE_URL": url})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"STORE_ENDPOINT": "http://127.0.0.1:9000"}, "of a store_url that begins with s3"),
        ({"STORE_URL": "s3://b", "STORE_ENDPOINT": "minio:9000"}, "must begin with http"),
        ({"STORE_URL": "s3://b", "STORE_ENCRYPTION": "rot13"}, "STORE_ENCRYPTION"),
        ({"STORE_URL": "s3://b", "STORE_KEY": "k"}, "is for the store_encryption aws:kms"),
    ],
)
def test_what_a_store_cannot_use_is_told_at_the_start(settings: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        MediaSettings.load({f"PARLEY_MEDIA_{name}": value for name, value in settings.items()})


def test_a_retention_that_no_calendar_has_is_told_at_the_start() -> None:
    """No recording could be completed any more: the day to delete it on did not exist."""
    with pytest.raises(SettingsError, match="PARLEY_MEDIA_RETENTION_DAYS"):
        MediaSettings.load({"PARLEY_MEDIA_RETENTION_DAYS": "36501"})
