"""Settings from the environment: one frozen object a service, every error reported together.

A field `port` of the user service is read from `PARLEY_USER_PORT`. A field marked `shared()` is
also read from `PARLEY_<FIELD>`, the service's own variable winning. A secret field (`SecretStr`)
is also read from the file named by `<VARIABLE>_FILE`.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from services.common.database_url import postgresql_url, sqlite_url
from services.common.peer_tls import PeerTls
from services.common.redis_url import check_redis_url


class SettingsError(Exception):
    """The environment's settings are wrong; the message lists every one of them."""


def shared(default: Any, description: str, **rules: Any) -> Any:
    """Declare a field that every service also reads from `PARLEY_<FIELD>`."""
    return Field(default, description=description, json_schema_extra={"shared": True}, **rules)


def variable_name(*parts: str) -> str:
    """Return the environment variable of a setting: `PARLEY_<PART>_<PART>`."""
    return "_".join(("parley", *parts)).upper()


class DeclaredSettings(BaseSettings):
    """Settings that are what they were constructed with; a subclass's `load` finds the values."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor alone: `load` is what reads the environment."""
        return (init_settings,)


class ServiceSettings(DeclaredSettings):
    """What every service can be told. A service subclasses it and sets `service` and `port`."""

    service: ClassVar[str] = ""

    host: str = Field("127.0.0.1", description="Address the gRPC server listens on.")
    port: int = Field(0, ge=0, le=65535, description="Port of the gRPC server; 0 picks a free one.")
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the metrics (HTTP, loopback); unset: gRPC port + 1000; 0: a free one.",
    )
    data_dir: Path = shared(
        user_data_path("parley"), "Folder below which everything Parley writes lives."
    )
    log_level: Literal["debug", "info", "warning", "error"] = shared(
        "info", "Least severe log line written."
    )
    log_format: Literal["auto", "json", "console"] = shared(
        "auto", "Form of log lines; auto: console on a terminal, JSON otherwise."
    )
    drain_seconds: float = shared(
        20.0, "Time in seconds that live calls get to finish when the service stops.", ge=0, le=3600
    )
    postgresql_url: SecretStr | None = shared(
        None,
        "PostgreSQL database for all services, postgresql://user:password@host:port/database; each "
        "keeps its tables in a schema of its own, parley_<service>. Unset: SQLite files below the "
        "data folder.",
    )
    postgresql_connections: int = shared(
        10,
        "Most connections that a process of a service has to PostgreSQL at once. Half of them are "
        "kept; work beyond them waits for ten seconds, then is refused. The server allows 100 in "
        "all unless its max_connections says otherwise.",
        ge=1,
        le=1000,
    )
    redis_url: SecretStr | None = shared(
        None,
        "Redis-compatible server for all services, redis://user:password@host:port/0 (rediss: over "
        "TLS): events, limits and what several processes share go by it. Nothing is kept there "
        "alone: it may be emptied or away. Unset: everything goes without.",
    )
    audit_days: int = shared(
        0,
        "Who did what to accounts, transcripts and recordings is kept for this many days, a file "
        "each below `audit` in the data folder; 0 keeps it for ever.",
        ge=0,
    )
    rate_limits: bool = shared(
        True,
        "Whether calls are limited by user and address, see limits.md; false for load tests from "
        "other machines.",
    )
    service_tls_certificate: Path | None = shared(
        None,
        "PEM certificate chain that this process shows to other services, as the one called and as "
        "the caller; it bears the DNS name `<service>.parley.internal`. With the two below, calls "
        "between services are TLS on both sides, and nothing else is taken.",
    )
    service_tls_key: Path | None = shared(None, "PEM key of service_tls_certificate.")
    service_tls_authority: Path | None = shared(
        None, "PEM certificates of the authority that signed those of all services."
    )
    user_address: str = shared("127.0.0.1:50051", "Where the user service is, host:port.")
    conversation_address: str = shared(
        "127.0.0.1:50052",
        "Where the conversation service is, host:port; of several processes, any one.",
    )
    ai_address: str = shared("127.0.0.1:50053", "Where the ai service is, host:port.")
    history_address: str = shared("127.0.0.1:50054", "Where the history service is, host:port.")
    media_address: str = shared("127.0.0.1:50055", "Where the media service is, host:port.")

    @model_validator(mode="after")
    def _service_tls_is_whole(self) -> Self:
        given = (self.service_tls_certificate, self.service_tls_key, self.service_tls_authority)
        if any(given) and not all(given):
            raise ValueError(
                "service_tls_certificate, service_tls_key and service_tls_authority are set "
                "together or not at all"
            )
        return self

    @property
    def service_tls(self) -> PeerTls | None:
        """TLS between services; None where it is off."""
        certificate, key, authority = (
            self.service_tls_certificate,
            self.service_tls_key,
            self.service_tls_authority,
        )
        if certificate is None or key is None or authority is None:
            return None
        return PeerTls(certificate, key, authority)

    @property
    def keys_dir(self) -> Path:
        """Folder of the signing keys and of `jwks.json`."""
        return self.data_dir / "keys"

    @property
    def audit_dir(self) -> Path:
        """Folder of this service's audit trail."""
        return self.data_dir / "audit" / self.service

    @property
    def effective_metrics_port(self) -> int:
        """The metrics port with its default worked out."""
        if self.metrics_port is not None:
            return self.metrics_port
        # 1000 above the gRPC port, so that five services need no table of their own.
        return self.port + 1000 if self.port else 0

    @field_validator("postgresql_url")
    @classmethod
    def _postgresql_url_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            postgresql_url(value.get_secret_value(), cls.service)
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_redis_url(value.get_secret_value())
        return value

    @property
    def database_url(self) -> str:
        """The async SQLAlchemy URL of this service's data. May hold a password: never log it."""
        if self.postgresql_url is not None:
            return postgresql_url(self.postgresql_url.get_secret_value(), self.service)
        return sqlite_url(self.data_dir / "db" / f"{self.service}.sqlite3")

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the environment variable to name when speaking of `field`."""
        if field not in cls.model_fields:
            return field
        return environment_names(cls.service, field, cls.model_fields[field])[-1]

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from `environment` (the process's by default).

        Raises:
            SettingsError: listing every wrong, unreadable or misspelt variable.
        """
        environment = os.environ if environment is None else environment
        values, problems = _read(cls, environment)
        problems += _misspelt(cls, environment)
        settings: Self | None = None
        try:
            settings = cls(**values)
        except ValidationError as error:
            for each in error.errors():
                field = str(each["loc"][0]) if each["loc"] else ""
                name = _variable_read(cls, field, environment)
                problems.append(f"{name}: {_reason(each)}{_shown(cls, field, environment)}")
        if settings is None or problems:
            listed = "\n".join(f"  - {each}" for each in sorted(problems))
            raise SettingsError(f"Settings of the {cls.service} service:\n{listed}")
        return settings


def environment_names(service: str, field: str, info: FieldInfo) -> list[str]:
    """Return the variables that set `field`, the strongest first."""
    names = [variable_name(service, field)]
    if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("shared"):
        names.append(variable_name(field))
    return names


def is_secret(info: FieldInfo) -> bool:
    """Tell whether the field holds a secret, and so can be read from a file."""
    return info.annotation is SecretStr or SecretStr in get_args(info.annotation)


def _read(
    settings: type[ServiceSettings], environment: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field, info in settings.model_fields.items():
        for name in environment_names(settings.service, field, info):
            if name in environment:
                values[field] = _decoded(environment[name])
                break
            if is_secret(info) and f"{name}_FILE" in environment:
                path = Path(environment[f"{name}_FILE"])
                try:
                    values[field] = path.read_text("utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    problems.append(f"{name}_FILE: cannot read {path}: {error}")
                break
    return values, problems


def _decoded(text: str) -> Any:
    # Lists and tables are written as JSON; anything else is left to pydantic.
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _known_names(settings: type[ServiceSettings]) -> set[str]:
    known: set[str] = set()
    for field, info in settings.model_fields.items():
        for name in environment_names(settings.service, field, info):
            known.add(name)
            if is_secret(info):
                known.add(f"{name}_FILE")
    return known


def _misspelt(settings: type[ServiceSettings], environment: Mapping[str, str]) -> list[str]:
    known = _known_names(settings)
    prefix = variable_name(settings.service, "")
    problems = []
    for name in environment:
        if name.startswith(prefix) and name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{name}: no such setting{hint}")
    return problems


def _variable_read(
    settings: type[ServiceSettings], field: str, environment: Mapping[str, str]
) -> str:
    if field not in settings.model_fields:
        return field or "settings"
    names = environment_names(settings.service, field, settings.model_fields[field])
    return next((name for name in names if name in environment), names[-1])


def _reason(error: Any) -> str:
    text = str(error["msg"])
    return text[:1].lower() + text[1:]


def _shown(settings: type[ServiceSettings], field: str, environment: Mapping[str, str]) -> str:
    info = settings.model_fields.get(field)
    if info is None or is_secret(info):
        return ""
    name = _variable_read(settings, field, environment)
    return f" (it is {environment[name]!r})" if name in environment else ""
