"""Which Parley is meant: its folder, and each service that keeps data, as the environment says."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import MetaData
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

import services
from admin.errors import WrongUseError
from launcher.errors import WrongSettingsError
from launcher.folder import Folder
from launcher.settings import LauncherSettings
from services.common.database_url import SQLITE
from services.common.outbox import OutboxMixin
from services.common.settings import ServiceSettings, SettingsError
from services.conversation.adapters import tables as conversation_tables
from services.conversation.settings import ConversationSettings
from services.history.adapters import tables as history_tables
from services.history.adapters.reindexing import reindex
from services.history.settings import HistorySettings
from services.media.adapters import tables as media_tables
from services.media.settings import MediaSettings
from services.user.adapters import tables as user_tables
from services.user.settings import UserSettings


@dataclass(frozen=True, slots=True)
class Keeper:
    """A service that keeps data: where, in which tables, and how those are made.

    url: the async SQLAlchemy form; it may hold a password.
    outbox: its table of events on their way; None where it sends none.
    reindex: makes the tables that its models do not know anew from the others; None where there
        are none.
    """

    name: str
    url: URL
    metadata: MetaData
    migrations: Path
    settings: ServiceSettings
    outbox: type[OutboxMixin] | None = None
    reindex: Callable[[Session], int] | None = None

    @property
    def file(self) -> Path | None:
        """The SQLite file; None where the data is on a server."""
        return Path(str(self.url.database)) if self.is_sqlite else None

    @property
    def is_sqlite(self) -> bool:
        """Whether the data is in a file below the data folder."""
        return self.url.get_backend_name() == SQLITE

    @property
    def kind(self) -> str:
        """What the database is called."""
        return "SQLite" if self.is_sqlite else "PostgreSQL"


@dataclass(frozen=True, slots=True)
class Installation:
    """One Parley as its environment describes it; nothing of it need exist."""

    folder: Folder
    preset: str
    user: UserSettings
    conversation: ConversationSettings
    history: HistorySettings
    media: MediaSettings

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read it from the environment of the running Parley.

        Raises:
            WrongUseError: listing every wrong setting.
        """
        try:
            launcher = LauncherSettings.load(environment)
            environment = {**environment, "PARLEY_DATA_DIR": str(launcher.data_dir)}
            return cls(
                Folder(launcher.data_dir),
                launcher.preset,
                UserSettings.load(environment),
                ConversationSettings.load(environment),
                HistorySettings.load(environment),
                MediaSettings.load(environment),
            )
        except (WrongSettingsError, SettingsError) as error:
            raise WrongUseError(str(error)) from error

    @property
    def keepers(self) -> tuple[Keeper, ...]:
        """Every service that keeps data, in the order in which copies of them are taken.

        Whoever tells another of something comes before it: an event that the copy of the sender
        still holds, and the copy of the receiver as well, has one effect after a restore; one that
        is in neither would be lost. So accounts, whose deletion all others are told of, come first.
        """
        return (
            _keeper(self.user, user_tables.Base.metadata),
            _keeper(
                self.conversation,
                conversation_tables.Base.metadata,
                outbox=conversation_tables.OutboxRow,
            ),
            _keeper(
                self.history,
                history_tables.Base.metadata,
                outbox=history_tables.OutboxRow,
                reindex=reindex,
            ),
            _keeper(self.media, media_tables.Base.metadata),
        )

    def keeper(self, name: str) -> Keeper:
        """Return one of them by its name."""
        return next(each for each in self.keepers if each.name == name)


def _keeper(
    settings: ServiceSettings,
    metadata: MetaData,
    *,
    outbox: type[OutboxMixin] | None = None,
    reindex: Callable[[Session], int] | None = None,
) -> Keeper:
    name = settings.service
    url = make_url(settings.database_url)
    # Not by the service's own bootstrap, which loads all that it runs on.
    migrations = Path(services.__path__[0]) / name / "migrations"
    return Keeper(name, url, metadata, migrations, settings, outbox, reindex)
