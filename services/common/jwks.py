"""The user service's public keys, asked for by RPC."""

from __future__ import annotations

import json

from parley.user.v1.user_pb2 import GetJwksRequest
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.auth import Keys, KeySource, keys_from_jwks
from services.common.channel import Peers
from services.common.status import rpc_errors


def keys_from_user_service(peers: Peers) -> KeySource:
    """Return a source that calls GetJwks of the user service."""

    async def ask() -> Keys:
        stub = UserServiceStub(peers.channel("user"))
        with rpc_errors("user"):
            answer = await stub.GetJwks(GetJwksRequest())
        return keys_from_jwks(json.loads(answer.jwks_json))

    return ask
