"""Every statement of the user service, built once: building one costs as much as running it.

Parameters named `this_…` choose rows; the others are new values, named as their columns.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, and_, bindparam, delete, insert, or_, select, update

from services.user.adapters.tables import ACCOUNTS, ERASURES, REFRESH_TOKENS, SESSIONS


def _columns(table: Table, *names: str) -> tuple[Column[object], ...]:
    return tuple(table.c[name] for name in names)


# In the order in which `sql_store` makes values of them.
ACCOUNT_COLUMNS = _columns(
    ACCOUNTS,
    "user_id",
    "username",
    "username_key",
    "password_hash",
    "created_at",
    "preferences",
    "registration_id",
)
SESSION_COLUMNS = _columns(
    SESSIONS,
    "session_id",
    "user_id",
    "device_name",
    "created_at",
    "last_used_at",
    "expires_at",
    "ended_at",
)
TOKEN_COLUMNS = _columns(
    REFRESH_TOKENS, "digest", "session_id", "issued_at", "expires_at", "used_at"
)

_ACCOUNTS = select(*ACCOUNT_COLUMNS)
# FOR UPDATE is left out on SQLite, whose transactions run one at a time anyway.
ACCOUNT_BY_NAME = _ACCOUNTS.where(
    ACCOUNTS.c.username_key == bindparam("this_key")
).with_for_update()
ACCOUNT_BY_REGISTRATION = _ACCOUNTS.where(
    ACCOUNTS.c.registration_id == bindparam("this_registration")
).with_for_update()

# One statement, so account and sessions are of one moment. Ids are made in order of time too, and
# tell two sessions of one instant apart.
SIGNED_IN = (
    select(*ACCOUNT_COLUMNS, *SESSION_COLUMNS)
    .outerjoin_from(
        ACCOUNTS,
        SESSIONS,
        and_(
            SESSIONS.c.user_id == ACCOUNTS.c.user_id,
            SESSIONS.c.ended_at.is_(None),
            SESSIONS.c.expires_at > bindparam("now"),
        ),
    )
    .where(ACCOUNTS.c.user_id == bindparam("this_user"))
    .order_by(SESSIONS.c.created_at.desc(), SESSIONS.c.session_id.desc())
)
SIGNED_IN_LOCKED = SIGNED_IN.with_for_update(of=ACCOUNTS)

ADD_ACCOUNT = insert(ACCOUNTS)
SET_PASSWORD = (
    update(ACCOUNTS)
    .where(ACCOUNTS.c.user_id == bindparam("this_user"))
    .values(password_hash=bindparam("password_hash"))
)
SET_PREFERENCES = (
    update(ACCOUNTS)
    .where(ACCOUNTS.c.user_id == bindparam("this_user"))
    .values(preferences=bindparam("preferences"))
)

# Its sessions and their refresh tokens go with it.
DELETE_ACCOUNT = delete(ACCOUNTS).where(ACCOUNTS.c.user_id == bindparam("this_user"))
ADD_ERASURE = insert(ERASURES)

LIVE_SESSIONS = select(SESSIONS.c.session_id).where(
    SESSIONS.c.session_id.in_(bindparam("these_sessions", expanding=True)),
    SESSIONS.c.ended_at.is_(None),
    SESSIONS.c.expires_at > bindparam("now"),
)
ADD_SESSION = insert(SESSIONS)
TOUCH_SESSION = (
    update(SESSIONS)
    .where(SESSIONS.c.session_id == bindparam("this_session"))
    .values(last_used_at=bindparam("last_used_at"), expires_at=bindparam("expires_at"))
)
END_SESSIONS = (
    update(SESSIONS)
    .where(
        SESSIONS.c.session_id.in_(bindparam("these_sessions", expanding=True)),
        SESSIONS.c.ended_at.is_(None),
    )
    .values(ended_at=bindparam("ended_at"))
)

ADD_REFRESH_TOKEN = insert(REFRESH_TOKENS)
_USER_OF_REFRESH_TOKEN = (
    select(SESSIONS.c.user_id)
    .join_from(REFRESH_TOKENS, SESSIONS)
    .where(REFRESH_TOKENS.c.digest == bindparam("this_digest"))
)
LOCK_ACCOUNT_OF_REFRESH_TOKEN = (
    select(ACCOUNTS.c.user_id)
    .where(ACCOUNTS.c.user_id == _USER_OF_REFRESH_TOKEN.scalar_subquery())
    .with_for_update()
)
# After the lock, in a statement of its own: in one statement PostgreSQL would show the token as it
# was before the lock was waited for.
REFRESH_TOKEN = (
    select(*TOKEN_COLUMNS, *SESSION_COLUMNS, ACCOUNTS.c.username_key)
    .join_from(REFRESH_TOKENS, SESSIONS)
    .join(ACCOUNTS)
    .where(REFRESH_TOKENS.c.digest == bindparam("this_digest"))
)
USE_REFRESH_TOKEN = (
    update(REFRESH_TOKENS)
    .where(REFRESH_TOKENS.c.digest == bindparam("this_digest"))
    .values(used_at=bindparam("used_at"))
)
PRUNE_REFRESH_TOKENS = delete(REFRESH_TOKENS).where(REFRESH_TOKENS.c.expires_at <= bindparam("now"))
# Their refresh tokens go with them.
PRUNE_SESSIONS = delete(SESSIONS).where(
    or_(SESSIONS.c.ended_at.is_not(None), SESSIONS.c.expires_at <= bindparam("now"))
)
DROP_REFRESH_TOKENS = delete(REFRESH_TOKENS).where(
    REFRESH_TOKENS.c.session_id == bindparam("this_session")
)
