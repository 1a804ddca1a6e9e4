"""No text of a request ends early or forges a line, and what people type keeps its lines."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from services.common.contract_limits import below
from services.common.errors import InvalidArgument
from services.common.interceptors.characters import PASSWORDS, TYPED_AT_LENGTH, fits, unfit
from services.common.interceptors.quick_pass import quick_pass
from services.common.interceptors.validation import Rejected, checked, checked_unary

REQUESTS: dict[str, Descriptor] = {
    method.input_type.full_name: method.input_type
    for file in (ai_pb2, conversation_pb2, history_pb2, media_pb2, user_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

TEXTS = [
    (request, path)
    for request in REQUESTS.values()
    for path in below(request)
    if path[-1].type == FieldDescriptor.TYPE_STRING and path[-1].name not in PASSWORDS
]

MOST = 1_000_000


def holding(request: Descriptor, path: tuple[FieldDescriptor, ...], text: str) -> Any:
    """Return a message with `text` in one field, and the messages around it."""
    whole: Any = GetMessageClass(request)()
    message = whole
    for field in path[:-1]:
        inner = getattr(message, field.name)
        message = inner.add() if field.is_repeated else inner
    if path[-1].is_repeated:
        getattr(message, path[-1].name).append(text)
    else:
        setattr(message, path[-1].name, text)
    return whole


@pytest.mark.parametrize("text", ["\0", "a\0b", "a\0"])
def test_nul_is_refused_in_every_text_of_every_request(text: str):
    assert len(TEXTS) > 60
    for request, path in TEXTS:
        message = holding(request, path, text)
        (found,) = unfit(message)
        assert not fits(message)
        assert found.field.replace("[0]", "") == ".".join(each.name for each in path)


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x0b", "\x1b", "\x7f", "\x85"])
def test_other_control_characters_are_for_what_is_typed_at_length(character: str):
    for request, path in TEXTS:
        message = holding(request, path, f"a{character}b")
        assert fits(message) is (path[-1].name in TYPED_AT_LENGTH), path[-1].full_name
        assert bool(list(unfit(message))) is not fits(message)


@pytest.mark.parametrize(
    "text", ["", "Ångström", "李小龙", "👩‍👩‍👧", "a\u00a0b\u2028c", "\u202e", "\ue000"]
)
def test_what_is_no_control_character_is_for_other_rules_to_judge(text: str):
    for request, path in TEXTS:
        assert fits(holding(request, path, text))


def test_each_field_typed_at_length_is_one_of_the_contract():
    assert {path[-1].name for _, path in TEXTS} >= TYPED_AT_LENGTH


def test_a_password_may_have_anything():
    request = user_pb2.ChangePasswordRequest(old_password="a\0b\n", new_password="\x01" * 9)
    assert fits(request)
    assert list(unfit(request)) == []


def test_what_takes_the_quick_way_holds_no_text():
    quick = [each for each in REQUESTS.values() if quick_pass(each) is not None]
    assert len(quick) >= 2
    for request in quick:
        audio = request.fields_by_name["audio"]
        for path in below(request):
            beside = path[0].containing_oneof is not audio.containing_oneof
            if beside or path[0] is audio:
                assert path[-1].type != FieldDescriptor.TYPE_STRING


def test_a_request_of_people_is_refused_with_the_field_named():
    request = user_pb2.LoginRequest(username="a\0b", password="x" * 8, device_name="a\nb")
    answer = checked_unary(user_pb2.LoginRequest.FromString, MOST)(request.SerializeToString())
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, InvalidArgument)
    assert answer.error.reason == "INVALID_REQUEST"
    assert [each.field for each in answer.error.fields] == ["username", "device_name"]


def test_a_message_of_a_stream_is_refused_by_its_seq():
    said = conversation_pb2.LearnerText(text="a\0b")
    request = conversation_pb2.ConverseRequest(seq=7, text=said)
    with pytest.raises(InvalidArgument) as caught:
        checked(conversation_pb2.ConverseRequest.FromString, MOST)(request.SerializeToString())
    assert caught.value.metadata == {"seq": "7"}


def test_what_a_model_wrote_passes_between_services():
    started = history_pb2.ConversationStarted(scenario_title="a\nb")
    event = history_pb2.ConversationEvent(
        event_id="01a20763-5306-7564-ba48-8f8a49535df6",
        conversation_id="01a20763-5306-7564-ba48-8f8a49535df6",
        user_id="01a20763-5306-7564-ba48-8f8a49535df6",
        started=started,
    )
    event.occurred_at.GetCurrentTime()
    request = history_pb2.IngestRequest(events=[event])
    decode = checked_unary(history_pb2.IngestRequest.FromString, MOST, from_people=False)
    assert decode(request.SerializeToString()) == request
