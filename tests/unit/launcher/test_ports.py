"""Ports that are taken, and what the person is told of them."""

from __future__ import annotations

import os
import socket

import pytest

from launcher.errors import PortsTakenError
from launcher.ports import Port, check
from tests.ports import free_ports


def port(number: int, setting: str = "PARLEY_GATEWAY_PORT") -> Port:
    return Port("the gateway", "127.0.0.1", number, setting)


def test_a_taken_port_is_named_with_its_holder_and_its_setting():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(PortsTakenError) as caught:
            check([port(number)])
    told = str(caught.value)
    assert f"{number} (the gateway) is in use by" in told
    assert f"(process {os.getpid()})" in told
    assert "PARLEY_GATEWAY_PORT" in told


def test_a_port_that_others_may_share_is_taken_too():
    """grpc.aio servers open theirs so that a second one could listen beside them, silently."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortsTakenError):
            check([port(taken.getsockname()[1])])


def test_every_taken_port_is_named_at_once():
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
            each.listen()
        numbers = [each.getsockname()[1] for each in (one, two)]
        with pytest.raises(PortsTakenError) as caught:
            check([port(number) for number in numbers])
    assert all(str(number) in str(caught.value) for number in numbers)


def test_one_port_for_two_purposes_is_told():
    number = free_ports(1)[0]
    with pytest.raises(PortsTakenError, match="PARLEY_A and PARLEY_B are the same port"):
        check([port(number, "PARLEY_A"), port(number, "PARLEY_B")])


def test_an_address_of_another_machine_is_told():
    with pytest.raises(PortsTakenError, match="no address of this machine"):
        check([Port("the gateway", "203.0.113.1", free_ports(1)[0], "PARLEY_GATEWAY_HOST")])


def test_free_ports_are_well():
    check([port(number) for number in free_ports(3)])
