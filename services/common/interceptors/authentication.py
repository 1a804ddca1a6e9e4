"""Who calls, and whether this method is for them."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.access import Access
from services.common.auth import AccessTokenVerifier, bearer
from services.common.call_context import caller_var, calling_service_var
from services.common.errors import PermissionDenied, Unauthenticated
from services.common.service_identity import METADATA_KEY, ServiceVerifier


class Authenticator:
    """Holds a call's credentials against its method's rule."""

    def __init__(self, tokens: AccessTokenVerifier, services: ServiceVerifier) -> None:
        self._tokens = tokens
        self._services = services

    async def admit(self, access: Access, metadata: Mapping[str, str | bytes]) -> None:
        """Verify the credentials in `metadata` and set who calls.

        Raises:
            Unauthenticated: a token is missing, wrong or expired.
            PermissionDenied: it is right, but the method is not for this caller.
            Unavailable: KEYS_UNAVAILABLE.
        """
        if access.public:
            return
        if access.services and METADATA_KEY in metadata:
            service = self._services.verify(bearer_of(metadata[METADATA_KEY]))
            if service not in access.services:
                raise PermissionDenied(
                    f"The {service} service may not call this method.",
                    reason="SERVICE_IDENTITY_REQUIRED",
                )
            calling_service_var.set(service)
            if "authorization" in metadata:
                caller_var.set(await self._tokens.verify(bearer(str(metadata["authorization"]))))
            return
        if not access.user:
            raise PermissionDenied(
                "This method is for Parley's own services.", reason="SERVICE_IDENTITY_REQUIRED"
            )
        value = metadata.get("authorization")
        if value is None:
            raise Unauthenticated("This method needs an access token.", reason="TOKEN_MISSING")
        caller_var.set(await self._tokens.verify(bearer(str(value))))


def bearer_of(value: str | bytes) -> str:
    """Return the service token of a metadata value.

    Raises:
        Unauthenticated: SERVICE_IDENTITY_INVALID, when it is not `Bearer <token>`.
    """
    scheme, _, token = str(value).partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(
            "The calling service's metadata is not `Bearer <token>`.",
            reason="SERVICE_IDENTITY_INVALID",
        )
    return token
