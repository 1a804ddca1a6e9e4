"""What a host writes of where Redis is, and what is refused without telling a password."""

from __future__ import annotations

import pytest

from services.common.settings import ServiceSettings, SettingsError


class Settings(ServiceSettings):
    service = "user"


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://ann:secret@redis.example:6380/2"])
def test_a_server_is_named_as_its_clients_name_it(url: str):
    settings = Settings.load({"PARLEY_REDIS_URL": url})
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:6379", "is not redis://"),
        ("http://ann:hunter2@redis", "is not redis://"),
        ("redis://", "is not redis://"),
        ("redis://ann:hunter2@redis:many", "its port is none"),
    ],
)
def test_what_cannot_be_used_is_refused_without_the_password(url: str, says: str):
    with pytest.raises(SettingsError) as caught:
        Settings.load({"PARLEY_REDIS_URL": url})
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_without_one_everything_goes_without():
    assert Settings.load({}).redis_url is None
