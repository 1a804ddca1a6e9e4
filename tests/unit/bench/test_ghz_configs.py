"""The files that users hand to ghz agree with the contract."""

from __future__ import annotations

import importlib
import json

import protovalidate
import pytest
from google.protobuf import json_format

from bench.ghz_load import CONFIGS, ROOT
from parley.conversation.v1 import conversation_pb2

NAMES = ("converse", "get_jwks", "get_profile", "list_sessions", "login", "update_profile")


def config(name):
    return json.loads((CONFIGS / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_names_a_method_of_the_contract(name):
    read = config(name)
    package, _, method = read["call"].partition("/")
    module, _, service = package.rpartition(".")
    part = module.split(".")[1]
    described = importlib.import_module(f"{module}.{part}_pb2").DESCRIPTOR
    assert method in described.services_by_name[service].methods_by_name
    assert (ROOT / read["proto"]).is_file()
    assert all((ROOT / folder).is_dir() for folder in read["import-paths"])


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_bounded_and_stays_on_this_machine(name):
    read = config(name)
    assert read["host"].startswith("127.0.0.1:")
    assert 0 < read["total"] <= 5000
    assert read["concurrency"] <= 16
    assert read["timeout"]


def test_logins_are_slow_for_each_costs_a_quarter_of_a_second():
    assert config("login")["rps"] <= 2


def test_the_typed_turn_keeps_to_the_rules_of_the_contract():
    messages = [
        json_format.ParseDict(each, conversation_pb2.ConverseRequest())
        for each in json.loads((CONFIGS / "typed_turn.json").read_text("utf-8"))
    ]
    for message in messages:
        protovalidate.validate(message)
    assert [each.WhichOneof("message") for each in messages] == ["start", "text", "finish"]
    assert [each.seq for each in messages] == [1, 2, 3]


def test_no_config_holds_a_secret():
    for name in NAMES:
        assert "metadata" not in config(name)
        assert "password" not in json.dumps(config(name)).lower()
