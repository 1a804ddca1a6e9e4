"""What an account is: values and the rules of names."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime

from services.common.errors import FieldViolation, InvalidArgument

_MIN_NAME_CHARACTERS = 3
# An email address, the longest allowed form, has at most 254 characters (RFC 5321).
_MAX_EMAIL_CHARACTERS = 254
_MAX_NAME_CHARACTERS = 64
_MARKS = frozenset("._-+@")


@dataclass(frozen=True, slots=True)
class Username:
    """A name to sign in with: `shown` as it was typed, `key` as it is compared."""

    shown: str
    key: str


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


def comparable(text: str) -> str:
    """Return the form of a username in which two that look the same are the same.

    NFKC folds compatibility forms (full width letters, ligatures), casefold the letter case; the
    second NFKC is what Unicode asks for after casefolding (UAX #15, toNFKC_Casefold).
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded)


def parse_username(text: str) -> Username:
    """Return the username in `text`.

    Raises:
        InvalidArgument: INVALID_REQUEST, naming what is wrong with `username`.
    """
    shown = unicodedata.normalize("NFKC", text)
    key = comparable(text)
    longest = _MAX_EMAIL_CHARACTERS if "@" in key else _MAX_NAME_CHARACTERS
    if not _MIN_NAME_CHARACTERS <= len(key) <= longest:
        raise _wrong(f"must have {_MIN_NAME_CHARACTERS} to {longest} characters")
    if not all(_is_allowed(character) for character in key):
        raise _wrong("may have letters, digits and . _ - + @ only")
    if not key[0].isalnum():
        raise _wrong("must begin with a letter or a digit")
    return Username(shown, key)


def _is_allowed(character: str) -> bool:
    # Marks (M) belong to letters of many scripts, such as the vowels of Hindi.
    category = unicodedata.category(character)
    return character in _MARKS or category[0] == "L" or category in ("Nd", "Mn", "Mc")


def _wrong(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"The username {why}.",
        reason="INVALID_REQUEST",
        fields=[FieldViolation("username", why)],
    )
