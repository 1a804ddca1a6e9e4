"""What the user service does, one method a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from services.common.audit import AuditTrail
from services.common.call_context import Caller
from services.common.clock import Clock
from services.common.errors import AlreadyExists, Unauthenticated
from services.common.ids import new_id
from services.user.accounts import (
    Account,
    Preferences,
    Session,
    SignedInAccount,
    StoredRefreshToken,
)
from services.user.admission import admitted, locked, session_ended
from services.user.password_rules import check_new_password
from services.user.passwords import PasswordHasher
from services.user.proving import Proofs, door_holders, own_holders
from services.user.store import Store, Transaction, UsernameTakenError
from services.user.throttle import Registrations
from services.user.tokens import TokenIssuer, Tokens, refresh_digest
from services.user.usernames import comparable, parse_username

# For this long a repeated registration is taken for a retry (the contract says so).
_REGISTRATION_RETRY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a refresh token lives unused, and how long a used one may be repeated.

    most_sessions: live ones of an account; one more ends the oldest.
    """

    refresh: timedelta
    refresh_grace: timedelta
    most_sessions: int


@dataclass(frozen=True, slots=True)
class _Renewed:
    """New tokens, and the key of whose name they are."""

    tokens: Tokens
    username_key: str


class UserApplication:
    """Accounts and sessions over a store. Safe to call concurrently."""

    def __init__(
        self,
        store: Store,
        passwords: PasswordHasher,
        tokens: TokenIssuer,
        proofs: Proofs,
        registrations: Registrations,
        clock: Clock,
        lifetimes: Lifetimes,
        audit: AuditTrail,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._tokens = tokens
        self._proofs = proofs
        self._registrations = registrations
        self._clock = clock
        self._lifetimes = lifetimes
        self._audit = audit

    async def register(
        self,
        username: str,
        password: str,
        preferences: Preferences,
        device_name: str,
        request_id: str,
    ) -> tuple[Account, Tokens]:
        """Make an account and sign it in. The same `request_id` again returns the same account.

        Raises:
            InvalidArgument: the username breaks its rules; PASSWORD_TOO_COMMON.
            AlreadyExists: USERNAME_TAKEN or REQUEST_ID_REUSED.
            ResourceExhausted: TOO_MANY_ATTEMPTS.
        """
        name = parse_username(username)
        check_new_password(password, name.key, "password")
        self._registrations.admit(self._clock.monotonic())
        earlier = await self._made_with(request_id)
        if earlier is not None:
            return await self._registered(earlier, name.key, password, device_name)
        account = Account(
            user_id=new_id(),
            username=name,
            password_hash=await self._passwords.hash(password, door_holders(name.key)),
            created_at=self._clock.now(),
            preferences=preferences,
            registration_id=request_id,
        )

        def add(work: Transaction) -> Tokens:
            work.add_account(account)
            return self._open_session(work, account, device_name)

        try:
            tokens = await self._store.write(add)
        except UsernameTakenError as error:
            # Hashing took long enough for the first try of this one to have made it.
            earlier = await self._made_with(request_id)
            if earlier is not None:
                return await self._registered(earlier, name.key, password, device_name)
            raise AlreadyExists(
                "This username is taken; choose another.", reason="USERNAME_TAKEN"
            ) from error
        self._proofs.signed_in_here(name.key)
        self._audit.note("account_made", user_id=account.user_id)
        return account, tokens

    async def login(self, username: str, password: str, device_name: str) -> tuple[Account, Tokens]:
        """Sign in.

        Raises:
            Unauthenticated: BAD_CREDENTIALS, for an unknown user as for a wrong password.
            ResourceExhausted: TOO_MANY_ATTEMPTS.
        """
        key = comparable(username)
        account: Account | None = None

        async def stored() -> bytes | None:
            nonlocal account
            account = await self._store.write(lambda work: work.account_by_name(key))
            return None if account is None else account.password_hash

        if not await self._proofs.at_the_door(key, password, stored) or account is None:
            # The name is not told: people type their passwords there.
            self._audit.note(
                "sign_in_refused", user_id=None if account is None else account.user_id
            )
            raise _bad_credentials()
        upgraded = await self._passwords.upgraded(password, account.password_hash)
        checked = account.password_hash

        def sign_in(work: Transaction) -> tuple[Account, Tokens] | None:
            now = work.account_by_name(key)
            if now is None or now.password_hash != checked:
                return None
            if upgraded is not None:
                work.set_password(now.user_id, upgraded)
            return now, self._open_session(work, now, device_name)

        signed_in = await self._store.write(sign_in)
        if signed_in is None:
            # Checking took long enough for somebody to change the password, which ended the
            # sessions of then: one that the old password opens must not come after that.
            return await self.login(username, password, device_name)
        self._audit.note("signed_in", user_id=account.user_id)
        return signed_in

    async def refresh(self, refresh_token: str) -> Tokens:
        """Change a refresh token for new tokens.

        A token that was used before gives the same successor within the grace; later it ends its
        session, since one of its two users is a thief.

        Raises:
            Unauthenticated: REFRESH_TOKEN_INVALID or REFRESH_TOKEN_REUSED.
        """
        result = await self._store.write(lambda work: self._rotate(work, refresh_token))
        # Raised after the commit: the end of the session must be kept.
        if isinstance(result, Session):
            self._audit.note(
                "refresh_token_reused",
                alarming=True,
                user_id=result.user_id,
                session_id=result.session_id,
            )
            raise Unauthenticated(
                "This refresh token was used before, so its session was ended. Log in again.",
                reason="REFRESH_TOKEN_REUSED",
            )
        if result is None:
            raise Unauthenticated(
                "The refresh token is not valid. Log in again.", reason="REFRESH_TOKEN_INVALID"
            )
        self._proofs.signed_in_here(result.username_key)
        return result.tokens

    async def logout(self, refresh_token: str) -> None:
        """End the session of a refresh token; an unknown one is no error."""

        def end(work: Transaction) -> Session | None:
            known = work.refresh_token(refresh_digest(refresh_token))
            if known is None:
                return None
            work.end_sessions([known.session], self._clock.now())
            return known.session

        session = await self._store.write(end)
        if session is not None:
            self._audit.note("signed_out", user_id=session.user_id, session_id=session.session_id)

    async def account(self, caller: Caller) -> Account:
        """Return the caller's account.

        Raises:
            NotFound: USER_NOT_FOUND.
            Unauthenticated: SESSION_ENDED.
        """
        return (await self._signed_in(caller)).account

    async def update(self, caller: Caller, change: Callable[[Account], Preferences]) -> Account:
        """Replace the caller's preferences by what `change` makes of the account.

        Updates of one account run one after another, so `change` sees the last one's outcome.

        Raises:
            NotFound: USER_NOT_FOUND.
            Unauthenticated: SESSION_ENDED.
        """

        def replaced(work: Transaction) -> Account:
            account = locked(work, caller, self._clock.now()).account
            preferences = change(account)
            work.set_preferences(caller.user_id, preferences)
            return replace(account, preferences=preferences)

        return await self._store.write(replaced)

    async def change_password(self, caller: Caller, old: str, new: str) -> Tokens:
        """Change the password, end every other session, and renew the caller's own.

        Raises:
            InvalidArgument: PASSWORD_TOO_COMMON.
            Unauthenticated: BAD_CREDENTIALS, when `old` is wrong; SESSION_ENDED.
            NotFound: USER_NOT_FOUND.
            ResourceExhausted: TOO_MANY_ATTEMPTS.
        """
        # Not the account at hand: another process may have changed the password just now.
        account = await self._store.write(
            lambda work: locked(work, caller, self._clock.now()).account
        )
        proved = self._proofs.of_the_signed_in(caller.user_id, old, account.password_hash)
        if not await proved:
            self._audit.note("password_change_refused", user_id=caller.user_id)
            raise _bad_credentials()
        check_new_password(new, account.username.key, "new_password")
        password_hash = await self._passwords.hash(new, own_holders(caller.user_id))
        now = self._clock.now()

        def renew(work: Transaction) -> tuple[int, Tokens] | None:
            # Asked again: hashing took long enough for somebody to end the session.
            found = locked(work, caller, self._clock.now())
            if found.account.password_hash != account.password_hash:
                return None
            own = next(each for each in found.sessions if each.session_id == caller.session_id)
            work.set_password(caller.user_id, password_hash)
            others = [each for each in found.sessions if each is not own]
            work.end_sessions(others, now)
            # Whoever knew the old password may hold this session's refresh token too.
            work.drop_refresh_tokens(own.session_id)
            work.touch_session(own, now, now + self._lifetimes.refresh)
            return len(others), self._issue(work, own, self._tokens.first_refresh_token())

        renewed = await self._store.write(renew)
        if renewed is None:
            # Somebody changed it meanwhile, so `old` is held against what it is now.
            return await self.change_password(caller, old, new)
        ended, tokens = renewed
        self._audit.note("password_changed", user_id=caller.user_id, ended_sessions=ended)
        return tokens

    async def sessions(self, caller: Caller) -> list[Session]:
        """Return the caller's live sessions, newest first.

        Raises:
            NotFound: USER_NOT_FOUND.
            Unauthenticated: SESSION_ENDED.
        """
        return list((await self._signed_in(caller)).live(self._clock.now()))

    async def revoke(self, caller: Caller, chosen: Callable[[Session], bool]) -> int:
        """End those of the caller's live sessions that are `chosen`; return how many.

        A caller whose own session was ended ends nothing more. That is no error: it may be the
        retry of a call that ended it, whose answer was lost.
        """
        now = self._clock.now()

        def end(work: Transaction) -> int | None:
            found = work.signed_in(caller.user_id, now)
            if found is None or not found.includes(caller.session_id, now):
                return None
            return work.end_sessions([each for each in found.sessions if chosen(each)], now)

        ended = await self._store.write(end)
        if ended is None:
            return 0
        self._audit.note("sessions_revoked", user_id=caller.user_id, ended_sessions=ended)
        return ended

    async def ended_sessions(self, session_ids: Sequence[str]) -> list[str]:
        """Return those of the sessions that nobody is signed in with any more."""
        live = await self._store.live_sessions(session_ids, self._clock.now())
        return [each for each in session_ids if each not in live]

    async def access_token(self, caller: Caller) -> str:
        """Return a new access token of the caller's session, for what is asked on their behalf.

        Raises:
            Unauthenticated: SESSION_ENDED, also when the account is gone.
        """
        if await self.ended_sessions([caller.session_id]):
            raise session_ended()
        return self._tokens.access_token(caller.user_id, caller.session_id)[0]

    async def _signed_in(self, caller: Caller) -> SignedInAccount:
        """Return the caller's account and sessions, when the session that calls is one of them.

        An access token outlives its session by minutes; here it does not.
        """
        now = self._clock.now()
        return admitted(await self._store.signed_in(caller.user_id, now), caller, now)

    async def _made_with(self, request_id: str) -> Account | None:
        if not request_id:
            return None
        return await self._store.write(lambda work: work.account_by_registration(request_id))

    async def _registered(
        self, account: Account, key: str, password: str, device_name: str
    ) -> tuple[Account, Tokens]:
        """Answer a retry of a registration: only whoever made it gets in."""
        recent = self._clock.now() - account.created_at < _REGISTRATION_RETRY
        # As the name of the account: with a request id of one's own, no other's failures go.
        own = account.username.key

        async def stored() -> bytes:
            return account.password_hash

        def sign_in(work: Transaction) -> tuple[Account, Tokens] | None:
            # Asked again, as in `login`: the password may have changed while it was checked.
            now = work.account_by_registration(account.registration_id)
            if now is None or now.password_hash != account.password_hash:
                return None
            return now, self._open_session(work, now, device_name)

        same = await self._proofs.at_the_door(own, password, stored)
        again = None
        if recent and same and own == key:
            again = await self._store.write(sign_in)
        if again is None:
            raise AlreadyExists(
                "This request id belongs to another registration.", reason="REQUEST_ID_REUSED"
            )
        return again

    def _open_session(self, work: Transaction, account: Account, device_name: str) -> Tokens:
        now = self._clock.now()
        expires = now + self._lifetimes.refresh
        session = Session(new_id(), account.user_id, device_name, now, now, expires)
        work.add_session(session)
        signed_in = work.signed_in(account.user_id, now)
        # Newest first.
        if signed_in is not None and signed_in.sessions[self._lifetimes.most_sessions :]:
            work.end_sessions(signed_in.sessions[self._lifetimes.most_sessions :], now)
        return self._issue(work, session, self._tokens.first_refresh_token())

    def _rotate(self, work: Transaction, token: str) -> _Renewed | Session | None:
        """Return new tokens; the session where a reused token ended it; None for no valid one."""
        now = self._clock.now()
        found = work.refresh_token(refresh_digest(token))
        if found is None:
            return None
        known, session = found.token, found.session
        if now >= known.expires_at or session.ended_at is not None:
            return None
        successor = self._tokens.next_refresh_token(token)
        if known.used_at is None:
            work.use_refresh_token(known.digest, now)
            work.touch_session(session, now, now + self._lifetimes.refresh)
            return _Renewed(self._issue(work, session, successor), found.username_key)
        following = work.refresh_token(refresh_digest(successor))
        in_grace = now - known.used_at <= self._lifetimes.refresh_grace
        if in_grace and following is not None and following.token.used_at is None:
            access_token, expires = self._tokens.access_token(session.user_id, session.session_id)
            again = Tokens(access_token, expires, successor, following.token.expires_at)
            return _Renewed(again, found.username_key)
        work.end_sessions([session], now)
        return session

    def _issue(self, work: Transaction, session: Session, refresh_token: str) -> Tokens:
        now = self._clock.now()
        expires = now + self._lifetimes.refresh
        work.add_refresh_token(
            StoredRefreshToken(refresh_digest(refresh_token), session.session_id, now, expires)
        )
        access_token, access_expires = self._tokens.access_token(
            session.user_id, session.session_id
        )
        return Tokens(access_token, access_expires, refresh_token, expires)


def _bad_credentials() -> Unauthenticated:
    return Unauthenticated("The username or the password is wrong.", reason="BAD_CREDENTIALS")
