"""The route table against the contract."""

from __future__ import annotations

import importlib

import pytest
from google.protobuf.descriptor import MethodDescriptor

from gateway.routes import HEALTH, INTERNAL, METHODS, REFLECTION, SERVICES
from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2

FILES = [ai_pb2, conversation_pb2, history_pb2, media_pb2, user_pb2]
CONTRACT: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
INTERNAL_PATHS = {f"/{name}" for name in INTERNAL}


def test_every_method_of_the_contract_is_public_or_named_internal():
    assert {route.path for route in METHODS} | INTERNAL_PATHS == set(CONTRACT)


def test_no_internal_method_is_routed():
    assert not INTERNAL_PATHS & {route.path for route in (*METHODS, *HEALTH, *REFLECTION)}


def test_no_method_is_listed_twice():
    assert len({route.path for route in METHODS}) == len(METHODS)


@pytest.mark.parametrize("route", METHODS, ids=lambda route: route.path)
def test_the_route_says_of_its_method_what_the_contract_says(route):
    method = CONTRACT[route.path]
    assert route.streaming == (method.client_streaming or method.server_streaming)
    assert route.path.split(".")[1] == route.cluster
    assert not (route.streaming and route.idempotent)


def test_only_what_must_work_without_a_token_is_public():
    assert {route.path.rpartition("/")[2] for route in METHODS if route.public} == {
        "Register",
        "Login",
        "Refresh",
        "Logout",
        "GetJwks",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_the_gateway_lets_in_without_a_token_whom_the_service_does(service: str):
    """What only one of the two holds for open is refused by the other, or by neither."""
    access = importlib.import_module(f"services.{service}.servicer").ACCESS
    routed = {each.path.rpartition("/")[2]: each for each in METHODS if each.cluster == service}
    assert {name for name, route in routed.items() if route.public} == {
        name for name, rule in access.items() if rule.public
    }


def test_a_method_that_changes_something_is_never_retried_after_it_reached_a_service():
    read_only = ("Get", "List", "Search")
    retried = [route.path.rpartition("/")[2] for route in METHODS if route.idempotent]
    assert retried
    assert all(name.startswith(read_only) for name in retried)


def test_health_of_each_service_can_be_asked():
    asked = {route.service_header for route in HEALTH if route.path.endswith("/Check")}
    assert asked == {*SERVICES, None}


def test_no_stream_is_open_to_strangers():
    """Each takes a place in a service, for as long as it lasts."""
    assert not [route for route in (*METHODS, *HEALTH) if route.streaming and route.public]
