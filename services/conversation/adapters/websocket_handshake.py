"""Who may open a WebSocket: the path, the page, the pace, a place, and the token.

The handshake proves who comes: `authorization: Bearer <token>`, or from a page, which cannot set
that header, the subprotocols `parley.v1, parley.token.<token>`. The URL carries no token.

A handshake that must not take a place, for there is none or its address comes too fast, is refused
by an HTTP status; a page cannot read those, so whatever it must be told is told by closing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from services.common.auth import AccessTokenVerifier, bearer
from services.common.call_context import Caller
from services.common.errors import ResourceExhausted, Unauthenticated
from services.common.interceptors.gate import LEAVING_KEY, Gate, Phase
from services.common.interceptors.pace import ADDRESS_KEYS, Pace, address_in

PATH: Final = "/ws"
HEALTH_PATH: Final = "/healthz"
AFFINITY_PARAMETER: Final = "at"
SUBPROTOCOL: Final = Subprotocol("parley.v1")
TOKEN_PREFIX: Final = "parley.token."  # noqa: S105 - what stands before one, not one


class HeldConnection(ServerConnection):
    """A connection that may hold a place, from its handshake until it is lost."""

    _held: set[HeldConnection] | None = None

    def hold_place(self, places: set[HeldConnection]) -> None:
        """Take a place among `places`; it is free again when nothing is left of the connection."""
        self._held = places
        places.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        if self._held is not None:
            self._held.discard(self)
        super().connection_lost(exc)


class Handshakes:
    """Judges handshakes of one port.

    Full policy: connections beyond `most` are answered HTTP 503, those of an address that come too
    fast HTTP 429.
    """

    def __init__(
        self,
        verifier: AccessTokenVerifier,
        gate: Gate,
        pace: Pace,
        most: int,
        origins: Collection[str],
    ) -> None:
        self._verifier = verifier
        self._gate = gate
        self._pace = pace
        self._most = most
        self._origins = frozenset(origins)
        self._places: set[HeldConnection] = set()

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake that is none of ours; what a page must be told comes later."""
        if request.path == HEALTH_PATH:
            return self._health(connection)
        url = urlsplit(request.path)
        if url.path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "WebSockets are at /ws.\n")
        if not self._may_come_from(request.headers):
            return connection.respond(HTTPStatus.FORBIDDEN, "Not from this origin.\n")
        address = address_of(request.headers)
        try:
            if address is not None:
                # Before the token is looked at: forged ones cost their sender's budget.
                self._pace.admit_address(address)
        except ResourceExhausted as error:
            refused = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, f"{error.reason}\n")
            refused.headers["Retry-After"] = str(math.ceil(error.retry_after or 1))
            return refused
        if len(self._places) >= self._most:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections.\n")
        if self._gate.phase is Phase.STOPPING and AFFINITY_PARAMETER not in parse_qs(url.query):
            # Who came back to this very process is told so by a close code; anybody else may be
            # taken by another before a word was said.
            refused = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Stopping.\n")
            refused.headers[LEAVING_KEY] = "true"
            return refused
        assert isinstance(connection, HeldConnection)
        connection.hold_place(self._places)
        return None

    async def learner(self, headers: Headers) -> Caller:
        """Return the learner whom a handshake proves.

        Raises:
            Unauthenticated: TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED.
            Unavailable: KEYS_UNAVAILABLE.
        """
        given = headers.get("Authorization")
        if given is not None:
            return await self._verifier.verify(bearer(given))
        for value in headers.get_all("Sec-WebSocket-Protocol"):
            for each in value.split(","):
                if each.strip().startswith(TOKEN_PREFIX):
                    return await self._verifier.verify(each.strip().removeprefix(TOKEN_PREFIX))
        raise Unauthenticated("A session needs an access token.", reason="TOKEN_MISSING")

    def _health(self, connection: ServerConnection) -> Response:
        """Answer the gateway, which asks whether new sessions may be sent here."""
        if self._gate.phase is Phase.SERVING:
            return connection.respond(HTTPStatus.OK, "serving\n")
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not serving\n")

    def _may_come_from(self, headers: Headers) -> bool:
        """Tell whether the page behind a handshake may call us: of our own host, or a listed one.

        Programs that are no browsers send no origin.
        """
        origin = headers.get("Origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        return bool(origin) and urlsplit(origin).netloc == headers.get("Host")


def address_of(headers: Headers) -> str | None:
    """Return the address of the client that the gateway was called by; None for this machine's."""
    return address_in({key: ",".join(headers.get_all(key)) for key in ADDRESS_KEYS})
