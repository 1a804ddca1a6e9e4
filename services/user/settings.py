"""What the user service can be told."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.common.settings import ServiceSettings


class UserSettings(ServiceSettings):
    """Settings of the user service, `PARLEY_USER_…`."""

    service: ClassVar[str] = "user"

    port: int = Field(
        50051, ge=0, le=65535, description="Port of the gRPC server; 0 picks a free one."
    )
    bcrypt_cost: int = Field(
        12,
        ge=4,
        le=16,
        description="Work of one password hash, as a power of two; 12 takes about 0.25 s.",
    )
    password_workers: int = Field(
        2, ge=1, le=64, description="Password hashes computed at once, each on a thread."
    )
    password_queue: int = Field(
        32, ge=1, le=10_000, description="Password hashes that may wait; more are refused at once."
    )
    access_token_seconds: int = Field(
        600, ge=30, le=3600, description="Life of an access token in seconds."
    )
    refresh_token_days: int = Field(
        30, ge=1, le=365, description="Life in days of a refresh token that is not used."
    )
    refresh_grace_seconds: float = Field(
        10.0,
        ge=0,
        le=120,
        description="Time in seconds in which a used refresh token gives the same successor "
        "again, for clients that lost the answer.",
    )
    key_settled_seconds: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="Age in seconds that the next signing key must have before a rotation lets it "
        "sign: longer than PARLEY_GATEWAY_JWKS_REFRESH_SECONDS, so that everybody knows it.",
    )
    login_attempts: int = Field(
        10,
        ge=1,
        le=1000,
        description="Failed logins of one username from one address before it must wait there; "
        "three times as many from all addresses, ten times as many of all names from one address. "
        "Logins that succeed count too: three times as many, and thirty times from one address.",
    )
    login_window_seconds: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Time in seconds in which that many attempts are allowed.",
    )
    registrations_per_hour: int = Field(
        30,
        ge=1,
        le=100_000,
        description="Accounts that may be made from one address in an hour; without an address, "
        "that is on the gateway's own machine, any number.",
    )
    account_cache_seconds: float = Field(
        2.0,
        ge=0,
        le=30,
        description="Time in seconds for which an account that was read is used again. What this "
        "process writes is seen at once; what another one wrote, within this time. 0: never.",
    )
    secure_cookies: bool = Field(
        False,
        description="Whether web pages' cookies are for TLS alone even where the gateway was "
        "called without it: true where something in front of the gateway ends TLS.",
    )
