"""Every bound in the protos, at N and at N + 1, as every service holds its requests against it."""

import re
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from services.common.contract_limits import below, limits_below, limits_of
from services.common.errors import InvalidArgument
from services.common.interceptors.validation import validate
from services.common.limits_page import SERVICES
from tests.requests_at_limits import Place, places

PLACES = list(places())


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_n_keeps_the_rules_and_n_and_one_breaks_the_one(place: Place):
    validate(place.request(0))
    with pytest.raises(InvalidArgument) as caught:
        validate(place.request(1))
    assert caught.value.reason == "INVALID_REQUEST"
    (violation,) = caught.value.fields
    assert re.sub(r"\[\d+\]", "", violation.field) == place.dotted


def test_no_limit_of_the_contract_is_without_a_place():
    """The page lists them; what it lists is tried."""
    requests = [method.input_type for service in SERVICES for method in service.methods]
    assert {each.limit.name for each in PLACES} == set(limits_below(requests))


UNBOUNDED = {
    "google.protobuf.FieldMask.paths": "each path must be one that is known",
    "parley.history.v1.GetProgressRequest.from_date": "its pattern has ten characters",
    "parley.history.v1.GetProgressRequest.to_date": "its pattern has ten characters",
}
"""Texts and lists in requests that no rule bounds, and what bounds them."""


def test_every_text_and_list_of_a_request_is_bounded():
    """What is not is as long as a message may be, for each who reads or stores it."""
    found = set()
    for service in SERVICES:
        for method in service.methods:
            for path in below(method.input_type):
                if _can_be_long(path[-1]) and not list(limits_of(path[-1])):
                    found.add(path[-1].full_name)
    assert found == set(UNBOUNDED)


def _can_be_long(field: FieldDescriptor) -> bool:
    rules: Any = field.GetOptions().Extensions[validate_pb2.field]
    texts = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    return field.is_repeated or (field.type in texts and not rules.string.uuid)
