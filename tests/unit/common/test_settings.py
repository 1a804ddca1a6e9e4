"""Reading the environment: names, precedence, secrets, and every error at once."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr

from services.common.settings import ServiceSettings, SettingsError, shared


class Sample(ServiceSettings):
    service: ClassVar[str] = "sample"

    port: int = 50099
    cost: int = Field(12, ge=4, le=16, description="bcrypt cost.")
    voices: list[str] = Field(default_factory=list, description="Voices on offer.")
    api_key: SecretStr | None = Field(None, description="Key of a provider.")
    region: str = shared("home", "Where it runs.")


def test_every_error_is_reported_together_by_variable():
    with pytest.raises(SettingsError) as caught:
        Sample.load(
            {
                "PARLEY_SAMPLE_COST": "99",
                "PARLEY_SAMPLE_PORT": "many",
                "PARLEY_LOG_LEVEL": "loud",
                "PARLEY_SAMPLE_PROT": "1",
                "PARLEY_SAMPLE_API_KEY_FILE": "/nowhere/key",
            }
        )
    text = str(caught.value)
    for name in ("SAMPLE_COST", "SAMPLE_PORT", "LOG_LEVEL", "SAMPLE_PROT", "API_KEY_FILE"):
        assert name in text
    assert "did you mean PARLEY_SAMPLE_PORT" in text
    assert "it is 'many'" in text


def test_a_secret_is_never_shown(tmp_path: Path):
    with pytest.raises(SettingsError) as caught:
        Sample.load({"PARLEY_SAMPLE_API_KEY": "hush-hush", "PARLEY_SAMPLE_COST": "1"})
    assert "hush" not in str(caught.value)
    settings = Sample.load({"PARLEY_SAMPLE_API_KEY": "hush-hush"})
    assert "hush" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_secret_may_be_read_from_a_file(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text("hush\n")
    settings = Sample.load({"PARLEY_SAMPLE_API_KEY_FILE": str(path)})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "hush"


def test_the_services_own_variable_wins_over_the_shared_one():
    environment = {"PARLEY_REGION": "all", "PARLEY_SAMPLE_REGION": "mine"}
    assert Sample.load(environment).region == "mine"
    del environment["PARLEY_SAMPLE_REGION"]
    assert Sample.load(environment).region == "all"


def test_a_variable_of_another_service_is_none_of_ours():
    assert Sample.load({"PARLEY_OTHER_PORT": "x", "PARLEY_PORT": "x"}).port == 50099


def test_lists_are_json():
    assert Sample.load({"PARLEY_SAMPLE_VOICES": '["amy", "joe"]'}).voices == ["amy", "joe"]


def test_defaults_follow_the_data_folder_and_port(tmp_path: Path):
    settings = Sample(data_dir=tmp_path)
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/db/sample.sqlite3"
    assert settings.effective_metrics_port == 51099
    assert Sample(port=0).effective_metrics_port == 0


def test_every_field_of_the_base_is_described():
    for name, field in ServiceSettings.model_fields.items():
        assert field.description, name
