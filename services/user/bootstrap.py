"""Builds the user service; nothing else constructs its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import add_UserServiceServicer_to_server
from services.common.audit import AuditTrail
from services.common.auth import Keys, TokenVerifier
from services.common.call_context import Caller
from services.common.database import Database
from services.common.migrations import migrate
from services.common.service import Application, Background, GrpcService, Runtime
from services.user.account_cache import AccountCache
from services.user.adapters.erasers import erasers
from services.user.adapters.erasures import SqlErasures
from services.user.adapters.everything import GrpcEverything
from services.user.adapters.sql_store import SqlStore
from services.user.application import Lifetimes, UserApplication
from services.user.erasing import AccountDeletion, ErasureWorker
from services.user.exporting import Exporter
from services.user.housekeeping import Housekeeping
from services.user.key_ring import KeyRing
from services.user.passwords import PasswordHasher
from services.user.proving import Proofs
from services.user.servicer import ACCESS, UserServicer
from services.user.settings import UserSettings
from services.user.throttle import Registrations, Throttle
from services.user.tokens import TokenIssuer

MIGRATIONS = Path(__file__).parent / "migrations"

# The verifiers' leeway, and the time that a call takes which began with the last token.
_CLOCKS_DIFFER = timedelta(minutes=2)


@asynccontextmanager
async def bootstrap(settings: UserSettings, runtime: Runtime) -> AsyncIterator[Application]:
    """Yield the user service, with its keys made and its tables up to date."""
    audit = AuditTrail(settings.audit_dir, runtime.clock, settings.audit_days)
    ring = await KeyRing.open(settings.keys_dir, runtime.clock, audit)
    url = settings.database_url
    await migrate(url, MIGRATIONS)
    hashing = PasswordHasher.open(
        settings.bcrypt_cost, settings.password_workers, settings.password_queue
    )
    async with (
        Database.open(url, connections=settings.postgresql_connections) as database,
        hashing as passwords,
    ):
        store = SqlStore(database, AccountCache(runtime.clock, settings.account_cache_seconds))
        tokens_live = timedelta(seconds=settings.access_token_seconds)
        tokens = TokenIssuer(ring, runtime.clock, tokens_live)
        throttle = Throttle(settings.login_attempts, settings.login_window_seconds, runtime.rates)
        proofs = Proofs(passwords, throttle, runtime.clock, audit)
        erasing = ErasureWorker(
            SqlErasures(database),
            erasers(runtime.peers),
            runtime.clock,
            tokens_live + _CLOCKS_DIFFER,
            database.scrub,
            audit,
        )

        def everything(caller: Caller) -> GrpcEverything:
            return GrpcEverything(runtime.peers, lambda: application.access_token(caller))

        application = UserApplication(
            store,
            passwords,
            tokens,
            proofs,
            Registrations(settings.registrations_per_hour, runtime.rates),
            runtime.clock,
            Lifetimes(
                timedelta(days=settings.refresh_token_days),
                timedelta(seconds=settings.refresh_grace_seconds),
                runtime.limits.sessions_per_user,
            ),
            audit,
        )
        service = GrpcService.of(
            UserServicer(
                application,
                ring,
                AccountDeletion(store, proofs, runtime.clock, erasing.notify, audit),
                Exporter(runtime.clock),
                everything,
                audit,
                always_secure=settings.secure_cookies,
            ),
            add_UserServiceServicer_to_server,
            user_pb2.DESCRIPTOR,
            "UserService",
            ACCESS,
        )

        async def own_keys() -> Keys:
            return ring.keys.public

        yield Application(
            [service],
            background=(
                erasing.run,
                ring.run,
                Housekeeping(store, runtime.clock).run,
                *_marking(runtime),
            ),
            verifier=TokenVerifier(own_keys, runtime.clock),
        )


def _marking(runtime: Runtime) -> tuple[Background, ...]:
    """Return what lets the others know whether Redis has forgotten whose sign-ins are over."""
    if runtime.redis is None:
        return ()
    # Only where there is one: the package is no part of every installation.
    from services.common.redis.sign_ins import NothingLostSince  # noqa: PLC0415

    return (NothingLostSince(runtime.redis, runtime.clock).run,)
