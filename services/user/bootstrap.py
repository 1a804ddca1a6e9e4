"""Builds the user service; nothing else constructs its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import add_UserServiceServicer_to_server
from services.common.auth import Keys, TokenVerifier
from services.common.database import Database
from services.common.migrations import migrate
from services.common.service import Application, GrpcService, Runtime
from services.user.account_cache import AccountCache
from services.user.adapters.sql_store import SqlStore
from services.user.application import Lifetimes, UserApplication
from services.user.keys import SigningKeys
from services.user.passwords import PasswordHasher
from services.user.servicer import ACCESS, UserServicer
from services.user.settings import UserSettings
from services.user.throttle import Throttle
from services.user.tokens import TokenIssuer

MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def bootstrap(settings: UserSettings, runtime: Runtime) -> AsyncIterator[Application]:
    """Yield the user service, with its keys made and its tables up to date."""
    keys = await asyncio.to_thread(SigningKeys.open, settings.keys_dir)
    await asyncio.to_thread(keys.publish, settings.keys_dir)
    url = settings.effective_database_url
    await migrate(url, MIGRATIONS)
    hashing = PasswordHasher.open(
        settings.bcrypt_cost, settings.password_workers, settings.password_queue
    )
    async with Database.open(url) as database, hashing as passwords:
        application = UserApplication(
            SqlStore(database, AccountCache(runtime.clock, settings.account_cache_seconds)),
            passwords,
            TokenIssuer(keys, runtime.clock, timedelta(seconds=settings.access_token_seconds)),
            Throttle(settings.login_attempts, settings.login_window_seconds),
            runtime.clock,
            Lifetimes(
                timedelta(days=settings.refresh_token_days),
                timedelta(seconds=settings.refresh_grace_seconds),
            ),
        )
        service = GrpcService.of(
            UserServicer(application, keys, always_secure=settings.secure_cookies),
            add_UserServiceServicer_to_server,
            user_pb2.DESCRIPTOR,
            "UserService",
            ACCESS,
        )

        async def own_keys() -> Keys:
            return keys.public

        yield Application([service], verifier=TokenVerifier(own_keys, runtime.clock))
