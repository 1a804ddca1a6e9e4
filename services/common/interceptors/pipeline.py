"""Everything in this package, around every call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isasyncgenfunction
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import grpc.aio

from services.common.access import Access
from services.common.call_context import caller_or_none, client_address_var, request_id_var
from services.common.codes import Code
from services.common.errors import ParleyError
from services.common.interceptors.authentication import Authenticator
from services.common.interceptors.deadline import allowed_seconds, set_deadline
from services.common.interceptors.failures import as_parley_error
from services.common.interceptors.gate import LEAVING_KEY, Gate, Phase
from services.common.interceptors.pace import Pace, address_in
from services.common.interceptors.request_id import REQUEST_ID_KEY, choose_request_id
from services.common.interceptors.validation import accepted, checked, checked_unary
from services.common.limits import Limits
from services.common.metrics import MethodMetrics, Metrics
from services.common.status import DETAILS_KEY, grpc_code, to_status

# Subscriptable in its stubs alone.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Behave = Callable[[Any, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class MethodRule:
    """What the pipeline knows of a method beforehand.

    gated: whether it waits for the service to be ready; health and reflection do not.
    while_draining: whether it still passes while the service stops.
    max_message_bytes: of one received message.
    """

    access: Access
    gated: bool
    max_message_bytes: int
    while_draining: bool = False


# A method that was registered without a rule: nobody may call it.
_NOBODY = MethodRule(Access(), gated=True, max_message_bytes=0)


@dataclass(frozen=True, slots=True)
class _Method:
    name: str
    rule: MethodRule
    metrics: MethodMetrics
    unary: bool


class Pipeline:
    """Wraps the handler of every method, once, when it is registered.

    It is no `grpc.aio.ServerInterceptor`: those are asked again on every call, which costs more
    than all that is done here.
    """

    def __init__(
        self,
        rules: Mapping[str, MethodRule],
        authenticator: Authenticator,
        metrics: Metrics,
        gate: Gate,
        limits: Limits,
        pace: Pace,
    ) -> None:
        self._rules = rules
        self._authenticator = authenticator
        self._metrics = metrics
        self._gate = gate
        self._limits = limits
        self._pace = pace

    def around(self, server: grpc.aio.Server) -> grpc.aio.Server:
        """Return what to give to `add_…Servicer_to_server` in place of `server`."""
        return cast("grpc.aio.Server", _WrappingServer(server, self.wrap))

    def wrap(self, name: str, handler: _Handler) -> _Handler:
        """Return the handler of the method `name` (`/package.Service/Method`) with all of it."""
        rule = self._rules.get(name, _NOBODY)
        unary = not handler.request_streaming and not handler.response_streaming
        method = _Method(name, rule, self._metrics.method(name), unary)
        decode = handler.request_deserializer
        if decode is not None:
            wrap = checked if handler.request_streaming else checked_unary
            from_people = rule.access.public or rule.access.user
            decode = wrap(decode, rule.max_message_bytes, from_people=from_people)
        inner, build = _kind(handler)
        if handler.response_streaming and isasyncgenfunction(inner):
            inner = _writing(inner)

        async def call(request: Any, context: Any) -> Any:
            return await self._run(method, inner, request, context)

        return build(
            call,
            request_deserializer=decode,
            response_serializer=handler.response_serializer,
        )

    async def _run(self, method: _Method, behave: _Behave, request: Any, context: Any) -> Any:
        started = time.perf_counter()
        method.metrics.started()
        code = Code.OK
        metadata = dict(context.invocation_metadata() or ())
        request_id = choose_request_id(metadata.get(REQUEST_ID_KEY))
        request_id_var.set(request_id)
        if not method.unary:
            # A unary call gets it back with a failure alone: a header that is new each time costs
            # gRPC 30 us, a sixth of the call. The gateway can add it to every response for less.
            context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        rule = method.rule
        inside, counted = False, ""
        try:
            if rule.gated:
                self._gate.enter(while_draining=rule.while_draining)
                inside = True
            address = address_in(metadata) if rule.gated else None
            client_address_var.set(address)
            if address is not None:
                # Before the token is looked at: forged ones cost their sender's budget.
                self._pace.admit_address(address)
            await self._authenticator.admit(rule.access, metadata)
            if address is not None and (learner := caller_or_none()) is not None:
                self._pace.begin(learner.user_id)
                counted = learner.user_id
            request = accepted(request)
            asked = context.time_remaining()
            seconds = allowed_seconds(asked, method.unary, self._limits)
            # What a stream began may outlive it, as a conversation does that is resumed.
            set_deadline(seconds if method.unary else asked)
            if seconds == asked:
                # The caller's own deadline: gRPC cancels the call when it passes.
                return await behave(request, context)
            async with asyncio.timeout(seconds):
                return await behave(request, context)
        except asyncio.CancelledError:
            code = Code.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = _aborted_with(context)
            raise
        except Exception as error:  # noqa: BLE001 - the border: whatever it is becomes a status
            told = as_parley_error(error, method.name)
            code = told.code
            leaving = rule.gated and not inside and self._gate.phase is Phase.STOPPING
            await _abort(context, told, request_id, leaving=leaving)
        finally:
            if counted:
                self._pace.end(counted)
            if inside:
                self._gate.leave()
            method.metrics.ended(code, time.perf_counter() - started)


class _WrappingServer:
    """The part of a server that generated code registers methods with."""

    def __init__(self, server: grpc.aio.Server, wrap: Callable[[str, _Handler], _Handler]) -> None:
        self._server = server
        self._wrap = wrap

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Do nothing: generated code registers the same methods by name next."""

    def add_registered_method_handlers(self, service: str, methods: dict[str, _Handler]) -> None:
        wrapped = {
            name: self._wrap(f"/{service}/{name}", handler) for name, handler in methods.items()
        }
        handler = grpc.method_handlers_generic_handler(service, wrapped)
        self._server.add_generic_rpc_handlers((handler,))


async def _abort(context: Any, error: ParleyError, request_id: str, *, leaving: bool) -> NoReturn:
    status = to_status(error, request_id)
    metadata: list[tuple[str, str | bytes]] = [
        (DETAILS_KEY, status.SerializeToString()),
        (REQUEST_ID_KEY, request_id),
    ]
    if leaving:
        metadata.append((LEAVING_KEY, "true"))
    await context.abort(grpc_code(error.code), error.message, tuple(metadata))
    raise AssertionError("abort always raises")


def _aborted_with(context: Any) -> Code:
    code = context.code()
    return Code(code if isinstance(code, int) else code.value[0])


def _kind(handler: _Handler) -> tuple[Any, Callable[..., _Handler]]:
    if handler.request_streaming:
        if handler.response_streaming:
            return handler.stream_stream, grpc.stream_stream_rpc_method_handler
        return handler.stream_unary, grpc.stream_unary_rpc_method_handler
    if handler.response_streaming:
        return handler.unary_stream, grpc.unary_stream_rpc_method_handler
    return handler.unary_unary, grpc.unary_unary_rpc_method_handler


def _writing(generate: Callable[[Any, Any], AsyncGenerator[Any, None]]) -> _Behave:
    """Return the generator-style handler in the writing style, closing it whatever happens."""

    async def write_all(request: Any, context: Any) -> None:
        async with aclosing(generate(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return write_all
