"""The files that carry secrets to ghz."""

from __future__ import annotations

import stat

from bench import ghz_accounts
from bench.ghz_accounts import bearer, sign_up


class Client:
    """Stands in for Parley: every account gets the next token."""

    def __init__(self, _endpoint):
        self.registered = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def register(self, _username, _password):
        self.registered += 1

    async def access_token(self):
        return f"token{self.registered}"


def test_one_token_needs_no_template():
    assert bearer(["a.b-c_d"]) == "Bearer a.b-c_d"


def test_several_tokens_take_turns():
    assert bearer(["a", "b"]) == "Bearer {{index (list `a` `b`) (mod .RequestNumber 2)}}"


async def test_nobody_else_can_read_the_files(monkeypatch, tmp_path):
    monkeypatch.setattr(ghz_accounts, "ParleyClient", Client)
    accounts = await sign_up("127.0.0.1:8080", 2, tmp_path)
    for path in (accounts.metadata, accounts.login):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert accounts.token == "token1"
    assert "`token2`" in accounts.metadata.read_text("utf-8")
