"""A refused login is one that was refused for its password, and nothing else."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import grpc
import pytest

from bench import login_timing
from bench.login_timing import NoRefusalError, main, refused
from parley.user.v1 import user_pb2
from services.common.errors import ParleyError, ResourceExhausted, Unauthenticated
from services.common.status import DETAILS_KEY, to_status


def ending_with(error: ParleyError | None) -> SimpleNamespace:
    async def login(request: user_pb2.LoginRequest) -> user_pb2.LoginResponse:
        if error is None:
            return user_pb2.LoginResponse()
        details = grpc.aio.Metadata((DETAILS_KEY, to_status(error).SerializeToString()))
        code = {each.value[0]: each for each in grpc.StatusCode}[error.code.value]
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), details, str(error))

    made: Callable[[user_pb2.LoginRequest], Awaitable[user_pb2.LoginResponse]] = login
    return SimpleNamespace(Login=made)


async def test_wrong_credentials_are_a_refusal():
    stub = ending_with(Unauthenticated("Wrong.", reason="BAD_CREDENTIALS"))
    await refused(stub, user_pb2.LoginRequest())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ResourceExhausted("Wait.", reason="TOO_MANY_ATTEMPTS", retry_after=1), "TOO_MANY"),
        (Unauthenticated("No.", reason="TOKEN_MISSING"), "TOKEN_MISSING"),
        (None, "got in"),
    ],
    ids=str,
)
async def test_any_other_end_is_none(error: ParleyError | None, told: str):
    with pytest.raises(NoRefusalError, match=told):
        await refused(ending_with(error), user_pb2.LoginRequest())


def test_a_run_in_which_one_ended_otherwise_says_so_and_tells_nothing(monkeypatch, capsys):
    async def measure(*_: object) -> dict[str, list[float]]:
        raise NoRefusalError("a wrong password got in.")

    monkeypatch.setattr(login_timing, "_measure", measure)
    assert main([]) == 2
    assert capsys.readouterr().err == "Unusable: a wrong password got in.\n"
