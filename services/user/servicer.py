"""The user contract: translate, call, translate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.json_format import MessageToDict

from parley.user.v1 import user_pb2, user_pb2_grpc
from services.common import call_context
from services.common.access import PUBLIC, USER, Access, service, user_or_service
from services.common.audit import AuditTrail
from services.common.call_context import Caller
from services.user import web_cookie
from services.user.accounts import Account, Preferences, Session
from services.user.application import UserApplication
from services.user.erasing import AccountDeletion
from services.user.exporting import Everything, Exporter
from services.user.key_ring import KeyRing
from services.user.tokens import Tokens
from services.user.translate import (
    account_message,
    merged_preferences,
    profile_value,
    session_message,
    tokens_message,
)

# As many as services.user.account_cache keeps accounts.
_MOST_PREPARED = 1024

ACCESS: dict[str, Access] = {
    "Register": PUBLIC,
    "Login": PUBLIC,
    "Refresh": PUBLIC,
    "Logout": PUBLIC,
    "GetJwks": PUBLIC,
    # Read on the learner's behalf, with their token: by conversation for the tutor, by history for
    # the time zone that their days are of.
    "GetProfile": user_or_service("conversation", "history"),
    # Ids of sessions in, ids of sessions out: what a live conversation must know to end in time.
    "FindEndedSessions": service("conversation", "ai", "history", "media"),
    "UpdateProfile": USER,
    "ChangePassword": USER,
    "ListSessions": USER,
    "RevokeSession": USER,
    "DeleteAccount": USER,
    "ExportData": USER,
}


class UserServicer(user_pb2_grpc.UserServiceServicer):
    """Serves `parley.user.v1.UserService`.

    everything: returns what the other services keep of a caller.
    audit: notes who took a copy of everything.
    always_secure: web pages' cookies are for TLS alone, whatever the gateway says of a call.
    """

    def __init__(
        self,
        application: UserApplication,
        ring: KeyRing,
        deletion: AccountDeletion,
        exporter: Exporter,
        everything: Callable[[Caller], Everything],
        audit: AuditTrail,
        *,
        always_secure: bool = False,
    ) -> None:
        self._application = application
        self._deletion = deletion
        self._exporter = exporter
        self._everything = everything
        self._audit = audit
        self._always_secure = always_secure
        self._ring = ring
        self._jwks = (ring.keys, user_pb2.GetJwksResponse(jwks_json=ring.keys.jwks()))
        self._profiles = _PreparedProfiles()

    async def Register(
        self, request: user_pb2.RegisterRequest, context: Any
    ) -> user_pb2.RegisterResponse:
        """Make an account and sign it in."""
        account, tokens = await self._application.register(
            request.username,
            request.password,
            Preferences(profile_value(request.profile)),
            request.device_name,
            request.request_id,
        )
        return user_pb2.RegisterResponse(
            account=account_message(account), tokens=await self._given(tokens, context)
        )

    async def Login(self, request: user_pb2.LoginRequest, context: Any) -> user_pb2.LoginResponse:
        """Sign in."""
        account, tokens = await self._application.login(
            request.username, request.password, request.device_name
        )
        return user_pb2.LoginResponse(
            account=account_message(account), tokens=await self._given(tokens, context)
        )

    async def Refresh(
        self, request: user_pb2.RefreshRequest, context: Any
    ) -> user_pb2.RefreshResponse:
        """Change a refresh token for new tokens."""
        tokens = await self._application.refresh(_refresh_token(request, context))
        return user_pb2.RefreshResponse(tokens=await self._given(tokens, context))

    async def Logout(
        self, request: user_pb2.LogoutRequest, context: Any
    ) -> user_pb2.LogoutResponse:
        """End a session."""
        await self._application.logout(_refresh_token(request, context))
        metadata = context.invocation_metadata()
        if web_cookie.is_web(metadata):
            await _set_cookie(context, web_cookie.clearing(secure=self._secure(metadata)))
        return user_pb2.LogoutResponse()

    async def GetProfile(
        self, request: user_pb2.GetProfileRequest, context: Any
    ) -> user_pb2.GetProfileResponse:
        """Return the caller's account."""
        account = await self._application.account(call_context.caller())
        return self._profiles.of(account)

    async def UpdateProfile(
        self, request: user_pb2.UpdateProfileRequest, context: Any
    ) -> user_pb2.UpdateProfileResponse:
        """Change what the mask names."""
        account = await self._application.update(
            call_context.caller(), lambda account: merged_preferences(account, request)
        )
        return user_pb2.UpdateProfileResponse(account=account_message(account))

    async def ChangePassword(
        self, request: user_pb2.ChangePasswordRequest, context: Any
    ) -> user_pb2.ChangePasswordResponse:
        """Change the password and end the other sessions."""
        tokens = await self._application.change_password(
            call_context.caller(), request.old_password, request.new_password
        )
        return user_pb2.ChangePasswordResponse(tokens=await self._given(tokens, context))

    async def ListSessions(
        self, request: user_pb2.ListSessionsRequest, context: Any
    ) -> user_pb2.ListSessionsResponse:
        """List the caller's live sessions."""
        caller = call_context.caller()
        sessions = await self._application.sessions(caller)
        return user_pb2.ListSessionsResponse(
            sessions=[session_message(each, caller.session_id) for each in sessions]
        )

    async def RevokeSession(
        self, request: user_pb2.RevokeSessionRequest, context: Any
    ) -> user_pb2.RevokeSessionResponse:
        """End one session, the others, or all."""
        caller = call_context.caller()

        def chosen(session: Session) -> bool:
            if request.all:
                return True
            if request.all_others:
                return session.session_id != caller.session_id
            return session.session_id == request.session_id

        return user_pb2.RevokeSessionResponse(
            revoked=await self._application.revoke(caller, chosen)
        )

    async def DeleteAccount(
        self, request: user_pb2.DeleteAccountRequest, context: Any
    ) -> user_pb2.DeleteAccountResponse:
        """Delete the account; the traces elsewhere follow."""
        caller = call_context.caller()
        await self._deletion.delete(caller, request.password)
        self._profiles.forget(caller.user_id)
        metadata = context.invocation_metadata()
        if web_cookie.is_web(metadata):
            await _set_cookie(context, web_cookie.clearing(secure=self._secure(metadata)))
        return user_pb2.DeleteAccountResponse()

    async def ExportData(self, request: user_pb2.ExportDataRequest, context: Any) -> None:
        """Stream an archive of everything."""
        caller = call_context.caller()
        account = account_message(await self._application.account(caller))
        sessions = await self._application.sessions(caller)
        listed = [session_message(each, caller.session_id) for each in sessions]
        kept = MessageToDict(account, preserving_proto_field_name=True)
        kept["sessions"] = [
            MessageToDict(each, preserving_proto_field_name=True) for each in listed
        ]
        archive = self._exporter.archive(
            caller.user_id,
            account.username,
            kept,
            self._everything(caller),
            include_audio=request.include_audio,
        )
        # Closed at once when its reader goes away: a user has one at a time.
        async with aclosing(archive) as pieces:
            begun = False
            async for piece in pieces:
                if not begun:
                    # Not only a whole copy: who breaks off before the end has most of it.
                    self._audit.note(
                        "data_export_begun",
                        user_id=caller.user_id,
                        recordings=request.include_audio,
                    )
                begun = True
                await context.write(
                    user_pb2.ExportDataResponse(chunk=piece.chunk, progress=piece.progress)
                )
        self._audit.note("data_exported", user_id=caller.user_id, recordings=request.include_audio)

    async def FindEndedSessions(
        self, request: user_pb2.FindEndedSessionsRequest, context: Any
    ) -> user_pb2.FindEndedSessionsResponse:
        """Tell which sessions are over."""
        ids = [each.lower() for each in request.session_ids]
        return user_pb2.FindEndedSessionsResponse(ended=await self._application.ended_sessions(ids))

    async def GetJwks(
        self, request: user_pb2.GetJwksRequest, context: Any
    ) -> user_pb2.GetJwksResponse:
        """Return the public keys."""
        keys, answer = self._jwks
        if keys is not self._ring.keys:
            keys = self._ring.keys
            answer = user_pb2.GetJwksResponse(jwks_json=keys.jwks())
            self._jwks = (keys, answer)
        return answer

    async def _given(self, tokens: Tokens, context: Any) -> user_pb2.TokenPair:
        """Return the tokens as the caller gets them: a web page's refresh token as a cookie."""
        message = tokens_message(tokens)
        metadata = context.invocation_metadata()
        if web_cookie.is_web(metadata):
            secure = self._secure(metadata)
            expires_at = tokens.refresh_expires_at
            kept = web_cookie.keeping(tokens.refresh_token, expires_at, secure=secure)
            await _set_cookie(context, kept)
            message.refresh_token = ""
        return message

    def _secure(self, metadata: web_cookie.Metadata) -> bool:
        return self._always_secure or not web_cookie.without_tls(metadata)


async def _set_cookie(context: Any, value: str) -> None:
    await context.send_initial_metadata(((web_cookie.SET_COOKIE_KEY, value),))


class _PreparedProfiles:
    """Answers made a moment ago, for accounts that have not been read again since.

    Accounts are values: the very same one has the very same answer. Nobody changes an answer.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[str, tuple[Account, user_pb2.GetProfileResponse]] = OrderedDict()

    def of(self, account: Account) -> user_pb2.GetProfileResponse:
        """Return the answer that holds `account`."""
        made = self._made.get(account.user_id)
        if made is not None and made[0] is account:
            return made[1]
        answer = user_pb2.GetProfileResponse(account=account_message(account))
        self._made[account.user_id] = (account, answer)
        self._made.move_to_end(account.user_id)
        if len(self._made) > _MOST_PREPARED:
            self._made.popitem(last=False)
        return answer

    def forget(self, user_id: str) -> None:
        """Drop the answer about a user who is gone."""
        self._made.pop(user_id, None)


def _refresh_token(request: user_pb2.RefreshRequest | user_pb2.LogoutRequest, context: Any) -> str:
    """Return the refresh token that came, in the message or as a web page's cookie."""
    metadata = context.invocation_metadata()
    if request.refresh_token or not web_cookie.is_web(metadata):
        return request.refresh_token
    return web_cookie.token_in(metadata)
