"""Calling Parley with a sign-in: the unary calls, the streams, and tokens kept fresh.

    async with ParleyClient(parse_endpoint("127.0.0.1:8080")) as client:
        await client.login("ana", password)
        voices = await client.call(client.ai.ListVoices, ai_pb2.ListVoicesRequest())

Access tokens live ten minutes. They are renewed before they expire and once more when the server
refuses one; a refresh token is spent under a lock, since using one twice ends the sign-in.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Protocol, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from parley.ai.v1 import ai_pb2_grpc
from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.history.v1 import history_pb2_grpc
from parley.media.v1 import media_pb2_grpc
from parley.types.v1 import learner_pb2
from parley.user.v1 import user_pb2, user_pb2_grpc
from parley_cli.client.converse import ConverseStream
from parley_cli.client.credentials import Credentials, CredentialStore
from parley_cli.client.endpoint import Endpoint
from parley_cli.client.way import ChannelWay
from parley_cli.failures import CliFailure, ExitCode, failure_from_error

ResponseT = TypeVar("ResponseT")
ResponseT_co = TypeVar("ResponseT_co", covariant=True)

# Renew this long before expiry: longer than a slow call takes, short beside the 10 min of a token.
_RENEW_BEFORE_S = 30.0

# Long enough for a cold service behind the gateway, short enough that nobody thinks it hangs.
DEFAULT_TIMEOUT_S = 15.0

Metadata = tuple[tuple[str, str], ...]


class StreamCall(Protocol[ResponseT_co]):
    """A streaming call under way, as grpc.aio returns it."""

    def __aiter__(self) -> AsyncIterator[ResponseT_co]: ...

    def cancel(self) -> bool:
        """End it."""
        ...


class ParleyClient:
    """An asyncio client of one Parley server for one account.

    Enter it before use; leaving closes the channel. Calls may run concurrently. Every failed call
    raises `CliFailure`, whose text is for people and whose `__cause__` is gRPC's error.

    Args:
        endpoint: where the server is.
        store: where the sign-in is kept; None keeps it in memory only.
        clock: seconds since the epoch; for tests.

    Attributes:
        user, conversation, ai, history, media: the contract's stubs on the open channel.
    """

    user: user_pb2_grpc.UserServiceAsyncStub
    conversation: conversation_pb2_grpc.ConversationServiceAsyncStub
    ai: ai_pb2_grpc.AiServiceAsyncStub
    history: history_pb2_grpc.HistoryServiceAsyncStub
    media: media_pb2_grpc.MediaServiceAsyncStub

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        store: CredentialStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint
        self._store = store
        self._clock = clock
        self._credentials: Credentials | None = None
        self._renewing = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        channel = self.endpoint.channel()
        self._channel = channel
        self.user = user_pb2_grpc.UserServiceStub(channel)
        self.conversation = conversation_pb2_grpc.ConversationServiceStub(channel)
        self.ai = ai_pb2_grpc.AiServiceStub(channel)
        self.history = history_pb2_grpc.HistoryServiceStub(channel)
        self.media = media_pb2_grpc.MediaServiceStub(channel)
        if self._store is not None:
            self._credentials = self._store.load(self.endpoint.target)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._channel is not None:
            await self._channel.close()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The open channel, for services outside the contract (health, reflection)."""
        if self._channel is None:
            raise RuntimeError("enter the client first: `async with ParleyClient(...)`")
        return self._channel

    @property
    def credentials(self) -> Credentials | None:
        """The sign-in in use, or None."""
        return self._credentials

    # -- signing in --------------------------------------------------------------------------

    async def register(
        self,
        username: str,
        password: str,
        *,
        profile: learner_pb2.LearnerProfile | None = None,
    ) -> user_pb2.Account:
        """Make an account and sign in with it."""
        response = await self._call_open(
            self.user.Register,
            user_pb2.RegisterRequest(
                username=username,
                password=password,
                profile=profile,
                request_id=str(uuid.uuid4()),
                device_name=_device_name(),
            ),
        )
        self._keep(response.account, response.tokens)
        return response.account

    async def login(self, username: str, password: str) -> user_pb2.Account:
        """Sign in."""
        response = await self._call_open(
            self.user.Login,
            user_pb2.LoginRequest(username=username, password=password, device_name=_device_name()),
        )
        self._keep(response.account, response.tokens)
        return response.account

    async def logout(self) -> bool:
        """End the sign-in here and at the server. False where there was none.

        What is kept on this machine is dropped even where the server cannot be reached.
        """
        credentials = self._credentials
        if credentials is None:
            return False
        self._credentials = None
        if self._store is not None:
            self._store.forget(self.endpoint.target)
        await self._call_open(
            self.user.Logout, user_pb2.LogoutRequest(refresh_token=credentials.refresh_token)
        )
        return True

    async def access_token(self, *, rejected: str = "") -> str:
        """Return a token that still works for a while, renewing it where needed.

        Args:
            rejected: a token that the server has just refused, whatever its expiry says.

        Raises:
            CliFailure: nobody is signed in, or the sign-in is over.
        """
        async with self._renewing:
            credentials = self._require()
            if self._usable(credentials, rejected):
                return credentials.access_token
            async with contextlib.AsyncExitStack() as stack:
                if self._store is not None:
                    # The lock may be held by another command; waiting must not stop the audio.
                    await asyncio.to_thread(stack.enter_context, self._store.locked())
                    stored = self._store.load(self.endpoint.target)
                    if stored is not None and self._usable(stored, rejected):
                        self._credentials = stored
                        return stored.access_token
                    credentials = stored or credentials
                return await self._renew(credentials)

    async def authorization(self, *, rejected: str = "") -> Metadata:
        """`access_token` as call metadata."""
        token = await self.access_token(rejected=rejected)
        return (("authorization", f"Bearer {token}"),)

    # -- calling -----------------------------------------------------------------------------

    async def call(
        self,
        method: Callable[..., Awaitable[ResponseT]],
        request: Message,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ResponseT:
        """Make a unary call with the sign-in and return its response.

        A refused token is renewed and the call made once more: it was refused before it ran.
        """
        metadata = await self.authorization()
        try:
            return await method(request, metadata=metadata, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise self._failure(error) from error
        metadata = await self.authorization(rejected=_token_of(metadata))
        try:
            return await method(request, metadata=metadata, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error

    async def stream(
        self,
        method: Callable[..., StreamCall[ResponseT]],
        request: Message | AsyncIterable[Message],
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[ResponseT]:
        """Yield the responses of a streaming call made with the sign-in.

        The token is renewed beforehand where it is about to expire; a stream is not repeated.
        """
        metadata = await self.authorization()
        call = method(request, metadata=metadata, timeout=timeout)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        finally:
            call.cancel()

    def converse(
        self,
        start: conversation_pb2.StartSession,
        *,
        on_connection: Callable[[bool], None] | None = None,
    ) -> ConverseStream:
        """Open a live session; see `ConverseStream`."""
        return ConverseStream(
            ChannelWay(self.endpoint, self.conversation.Converse),
            start,
            authorize=self.authorization,
            server=self.endpoint.target,
            on_connection=on_connection,
        )

    # -- inside ------------------------------------------------------------------------------

    def _require(self) -> Credentials:
        if self._credentials is None:
            raise CliFailure(
                f"Nobody is signed in at {self.endpoint.target}.",
                advice="Sign in with `parley login`, or make an account with `parley register`.",
                exit_code=ExitCode.NOT_SIGNED_IN,
            )
        return self._credentials

    def _usable(self, credentials: Credentials, rejected: str) -> bool:
        if credentials.access_token == rejected:
            return False
        return credentials.access_expires_at - self._clock() > _RENEW_BEFORE_S

    async def _renew(self, credentials: Credentials) -> str:
        try:
            response = await self.user.Refresh(
                user_pb2.RefreshRequest(refresh_token=credentials.refresh_token),
                timeout=DEFAULT_TIMEOUT_S,
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise self._failure(error) from error
            self._credentials = None
            if self._store is not None:
                self._store.forget(self.endpoint.target)
            raise CliFailure(
                "Your sign-in is over.",
                advice="Sign in again with `parley login`.",
                exit_code=ExitCode.NOT_SIGNED_IN,
                details=f"{error.code().name}: {error.details()}",
            ) from error
        renewed = _credentials(credentials.username, credentials.user_id, response.tokens)
        self._credentials = renewed
        if self._store is not None:
            self._store.save(self.endpoint.target, renewed)
        return renewed.access_token

    def _keep(self, account: user_pb2.Account, tokens: user_pb2.TokenPair) -> None:
        self._credentials = _credentials(account.username, account.user_id, tokens)
        if self._store is not None:
            self._store.save(self.endpoint.target, self._credentials)

    async def _call_open(
        self, method: Callable[..., Awaitable[ResponseT]], request: Message
    ) -> ResponseT:
        try:
            return await method(request, timeout=DEFAULT_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error

    def _failure(self, error: grpc.aio.AioRpcError) -> CliFailure:
        return failure_from_error(error, server=self.endpoint.target)


def _credentials(username: str, user_id: str, tokens: user_pb2.TokenPair) -> Credentials:
    return Credentials(
        username=username,
        user_id=user_id,
        access_token=tokens.access_token,
        access_expires_at=tokens.access_token_expires_at.ToMilliseconds() / 1000,
        refresh_token=tokens.refresh_token,
        refresh_expires_at=tokens.refresh_token_expires_at.ToMilliseconds() / 1000,
    )


def _token_of(metadata: Metadata) -> str:
    return metadata[0][1].removeprefix("Bearer ")


def _device_name() -> str:
    return f"parley on {platform.node() or platform.system()}"[:120]
