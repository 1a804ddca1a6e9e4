"""Google's clients, as both of its speech services use them: who pays, and when they are made.

Engines are made in a thread, and a channel belongs to the event loop that it is made in: so the
account is looked for at once, and the client made at the first call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import google.auth
import google.auth.exceptions
import grpc
import grpc.aio
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import Credentials
from google.oauth2 import service_account
from pydantic import SecretStr

from services.ai.adapters import grpc_channel
from services.ai.adapters.grpc_channel import failure
from services.ai.capabilities import ProviderRefusedError
from services.ai.engine_file import GooglePart

C = TypeVar("C")

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]

GOOGLE_IS_OVER: tuple[type[Exception], ...] = (
    *grpc_channel.CALL_IS_OVER,
    exceptions.GoogleAPICallError,
)
"""What Google's clients raise where a call has ended."""


class GoogleClient(Generic[C]):
    """Makes one client when it is first asked for."""

    def __init__(
        self,
        name: str,
        part: GooglePart,
        key: SecretStr | None,
        *,
        client: Callable[..., C],
        transport: Callable[..., Any],
        address: str,
    ) -> None:
        """Raises ``ProviderRefusedError`` where there is no account to pay."""
        self._part = part
        self._key = key
        self._make = client
        self._make_transport = transport
        self._address = address
        self._client: C | None = None
        self._credentials = None if part.base_url or key else _credentials(name, part)
        # The client adds its key to channels of its own alone.
        own_channel = part.base_url is not None and key is not None
        self.metadata = [("x-goog-api-key", key.get_secret_value())] if own_channel and key else []
        """What goes with every call."""

    def get(self) -> C:
        """Return the client, made in this event loop."""
        if self._client is None:
            self._client = self._made()
        return self._client

    async def aclose(self) -> None:
        """Close its channel."""
        if self._client is not None:
            close: Callable[[], Awaitable[None]] = getattr(self._client, "transport").close  # noqa: B009
            await close()

    def _made(self) -> C:
        if self._part.base_url:
            channel = grpc_channel.channel_to(self._part.base_url)
            return self._make(transport=self._make_transport(channel=channel))
        options = ClientOptions(api_endpoint=self._address)
        if self._key is not None:
            options.api_key = self._key.get_secret_value()
        return self._make(client_options=options, credentials=self._credentials)


@contextmanager
def google_failures(who: str) -> Iterator[None]:
    """Tell of what Google's clients raise before a call has begun as ``ProviderError``."""
    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise failure(who, error.grpc_status_code or grpc.StatusCode.UNKNOWN) from error
    except google.auth.exceptions.GoogleAuthError as error:
        raise ProviderRefusedError(f"{who} does not accept the Google account") from error


def _credentials(name: str, part: GooglePart) -> Credentials:
    if part.credentials_file is not None:
        path = str(part.credentials_file.expanduser())
        read: Callable[..., Credentials] = service_account.Credentials.from_service_account_file
        try:
            return read(path, scopes=_SCOPES)
        except (OSError, ValueError) as error:
            raise ProviderRefusedError(
                f"{name} has no Google account: {path} is no service account's file"
            ) from error
    try:
        found: Credentials = google.auth.default(scopes=_SCOPES)[0]
    except google.auth.exceptions.GoogleAuthError as error:
        raise ProviderRefusedError(
            f"{name} has no Google account: set GOOGLE_APPLICATION_CREDENTIALS, or credentials_file"
        ) from error
    return found
