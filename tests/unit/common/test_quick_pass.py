"""The quick way for live audio says nothing but what the rules in the proto say."""

from typing import Any

import protovalidate
import pytest
from google.protobuf import timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from services.common.errors import InvalidArgument
from services.common.interceptors.quick_pass import quick_pass
from services.common.interceptors.validation import validate

RULES = protovalidate.Validator()

# The contract's bounds, and one byte to either side.
LENGTHS = st.one_of(st.sampled_from([0, 1, 2, 3, 640, 19199, 19200, 19201]), st.integers(0, 20_000))

LEARNER_AUDIO = st.builds(
    conversation_pb2.ConverseRequest,
    seq=st.integers(0, 2**64 - 1),
    client_time=st.none()
    | st.builds(
        timestamp_pb2.Timestamp,
        seconds=st.integers(-(2**63), 2**63 - 1),
        nanos=st.integers(-(2**31), 2**31 - 1),
    ),
    audio=st.builds(
        conversation_pb2.LearnerAudio,
        pcm=LENGTHS.map(bytes),
        first_sample=st.integers(0, 2**64 - 1),
    ),
)
ENGINE_AUDIO = st.builds(
    ai_pb2.ConverseRequest, audio=st.builds(ai_pb2.EngineAudio, pcm=LENGTHS.map(bytes))
)
OTHER = st.sampled_from(
    [
        conversation_pb2.ConverseRequest(),
        conversation_pb2.ConverseRequest(seq=3),
        conversation_pb2.ConverseRequest(text=conversation_pb2.LearnerText()),
        conversation_pb2.ConverseRequest(text=conversation_pb2.LearnerText(text="Hello.")),
        conversation_pb2.ConverseRequest(heard=conversation_pb2.Heard(play_delay_ms=-1)),
        ai_pb2.ConverseRequest(),
        ai_pb2.ConverseRequest(start=ai_pb2.StartEngine()),
    ]
)


def quick(message: Any) -> bool:
    found = quick_pass(message.DESCRIPTOR)
    assert found is not None
    return found(message)


@given(st.one_of(LEARNER_AUDIO, ENGINE_AUDIO))
def test_audio_passes_quickly_exactly_when_the_rules_let_it_pass(message):
    assert quick(message) == (not RULES.collect_violations(message))


@given(OTHER)
def test_nothing_but_audio_passes_quickly(message):
    assert not quick(message)


@pytest.mark.parametrize("length", [0, 1, 19_201])
def test_audio_of_a_wrong_length_is_refused_with_the_field_named(length):
    audio = conversation_pb2.LearnerAudio(pcm=bytes(length))
    with pytest.raises(InvalidArgument) as caught:
        validate(conversation_pb2.ConverseRequest(seq=7, audio=audio))
    assert [each.field for each in caught.value.fields] == ["audio.pcm"]
    assert caught.value.metadata == {"seq": "7"}


@pytest.mark.parametrize(
    "kind",
    [
        # Its audio names a track, of which the rules ask something.
        media_pb2.RecordRequest,
        # Its audio stands deeper.
        conversation_pb2.UploadRequest,
        conversation_pb2.StartSession,
        user_pb2.LoginRequest,
    ],
)
def test_a_type_whose_audio_has_other_rules_or_none_has_no_quick_way(kind):
    assert quick_pass(kind.DESCRIPTOR) is None
