"""What the launcher itself can be told; the services and the gateway read their own settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from platformdirs import user_data_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from launcher.errors import WrongSettingsError
from services.common.settings import DeclaredSettings, variable_name


class LauncherSettings(DeclaredSettings):
    """Each field is read from `PARLEY_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix=variable_name(""))

    data_dir: Path = Field(
        user_data_path("parley"), description="Folder below which everything Parley writes lives."
    )
    models_dir: Path | None = Field(
        None, description="Folder of the models; unset: `models` in the data folder."
    )
    preset: str = Field(
        "default", description="Models that run: default, light or test (see `parley models list`)."
    )
    session_processes: int = Field(
        1,
        ge=1,
        le=16,
        description="Processes of the conversation service. One carries some two hundred live "
        "sessions; each further one has its ports 10 above the one before.",
    )
    tls: bool = Field(
        False,
        description="Whether the gateway speaks TLS with a certificate that is made here, by an "
        "authority kept in the data folder (`make run TLS=1`). A certificate of your own: "
        "PARLEY_GATEWAY_TLS_CERTIFICATE.",
    )
    service_tls: bool = Field(
        False,
        description="Whether the services and the gateway speak TLS with each other, each side "
        "with a certificate that every start makes anew. Certificates of your own: "
        "PARLEY_SERVICE_TLS_CERTIFICATE.",
    )
    ready_seconds: float = Field(
        180,
        gt=0,
        description="How long a start may take until every program is ready. Loading the models "
        "takes seconds on a warm disk and can take minutes on a cold one.",
    )

    @field_validator("data_dir", "models_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # The programs need not share the launcher's working folder.
        return value.expanduser().absolute() if value else value

    @property
    def effective_models_dir(self) -> Path:
        """The models folder with its default worked out."""
        return self.models_dir or self.data_dir / "models"

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from `environment`.

        Raises:
            WrongSettingsError: listing every wrong one.
        """
        found: dict[str, Any] = {
            field: environment[variable_name(field)]
            for field in cls.model_fields
            if environment.get(variable_name(field))
        }
        try:
            return cls(**found)
        except ValidationError as error:
            lines = [
                f"  - {variable_name(str(each['loc'][0]))}: {each['msg']}"
                for each in error.errors()
            ]
            raise WrongSettingsError("Settings of the launcher:\n" + "\n".join(lines)) from error
