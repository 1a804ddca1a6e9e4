"""What an account is: values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from services.user.usernames import Username


@dataclass(frozen=True, slots=True)
class Profile:
    """What the tutor knows of the learner. `level` is a `CefrLevel` of the contract."""

    display_name: str = ""
    first_language: str = ""
    level: int = 0
    interests: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    time_zone: str = ""


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """How turns are taken. `patience` 0 to 1, None: not said; `typical_pause_ms` 0: not known."""

    patience: float | None = None
    push_to_talk: bool = False
    no_hints: bool = False
    no_barge_in: bool = False
    typical_pause_ms: int = 0


@dataclass(frozen=True, slots=True)
class Preferences:
    """All that UpdateProfile can change."""

    profile: Profile = field(default_factory=Profile)
    turn_taking: TurnTaking = field(default_factory=TurnTaking)
    voice: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """An account. `registration_id` is the request id it was made with, empty for none."""

    user_id: str
    username: Username
    password_hash: bytes = field(repr=False)
    created_at: datetime
    preferences: Preferences = field(default_factory=Preferences)
    registration_id: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A place where an account is signed in; the family of its refresh tokens.

    expires_at: when its newest refresh token does.
    """

    session_id: str
    user_id: str
    device_name: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SignedInAccount:
    """An account and where it is signed in, at one moment; sessions newest first."""

    account: Account
    sessions: tuple[Session, ...]

    def live(self, now: datetime) -> tuple[Session, ...]:
        """Return the sessions that have not expired."""
        return tuple(each for each in self.sessions if now < each.expires_at)

    def includes(self, session_id: str, now: datetime) -> bool:
        """Tell whether the session is one of those."""
        return any(each.session_id == session_id for each in self.sessions if now < each.expires_at)


@dataclass(frozen=True, slots=True)
class StoredRefreshToken:
    """One refresh token of a session: its hash, and when it was changed for the next one."""

    digest: bytes = field(repr=False)
    session_id: str
    issued_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownRefreshToken:
    """A refresh token as it was found: with its session, and the key of its account's name."""

    token: StoredRefreshToken
    session: Session
    username_key: str
