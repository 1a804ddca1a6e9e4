"""Messages of live audio, fifty a second from every session, recognised as valid without the rules.

What is asked of them is read off the rules in the proto, never written here a second time: where a
message type has rules that this does not know, it has no quick way, and protovalidate judges it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

IsValid = Callable[[Any], bool]
"""True: the message is valid. False: it must be judged by its rules."""

_AUDIO, _PCM = "audio", "pcm"


@cache
def quick_pass(message: Descriptor) -> IsValid | None:
    """Return the quick way for messages of this type; None where there is none.

    There is one where a oneof can hold an `audio` with `pcm` of bounded length, and nothing else
    that such a message can hold has rules.
    """
    audio = message.fields_by_name.get(_AUDIO)
    if audio is None or audio.message_type is None or audio.containing_oneof is None:
        return None
    choice = audio.containing_oneof
    beside = [each for each in message.fields if each.containing_oneof is not choice]
    inside = [each for each in audio.message_type.fields if each.name != _PCM]
    bounds = _bounds(audio.message_type.fields_by_name.get(_PCM))
    if (
        bounds is None
        or _rules(audio) is not None
        or not _only_asks_for_one(choice)
        or not all(_is_free(each) for each in (*beside, *inside))
        or _has_rules_of_its_own(message, but=choice)
        or _has_rules_of_its_own(audio.message_type)
    ):
        return None
    least, most = bounds

    def is_valid(candidate: Any) -> bool:
        return candidate.HasField(_AUDIO) and least <= len(candidate.audio.pcm) <= most

    return is_valid


def _bounds(pcm: FieldDescriptor | None) -> tuple[int, int] | None:
    """Return the least and most bytes, if they are all that is asked of the field."""
    rules = _rules(pcm) if pcm is not None else None
    if rules is None or [each.name for each, _ in rules.ListFields()] != ["bytes"]:
        return None
    if {each.name for each, _ in rules.bytes.ListFields()} != {"min_len", "max_len"}:
        return None
    return rules.bytes.min_len, rules.bytes.max_len


def _only_asks_for_one(oneof: OneofDescriptor) -> bool:
    rules = oneof.GetOptions().Extensions[validate_pb2.oneof]
    return {each.name for each, _ in rules.ListFields()} <= {"required"}


def _is_free(field: FieldDescriptor, within: tuple[Descriptor, ...] = ()) -> bool:
    """Whether nothing is asked of a field, however it is filled. `within` has been looked at."""
    inner = field.message_type
    if _rules(field) is not None:
        return False
    if inner is None or inner in within:
        return True
    return not _has_rules_of_its_own(inner) and all(
        _is_free(each, (*within, inner)) for each in inner.fields
    )


def _has_rules_of_its_own(message: Descriptor, but: OneofDescriptor | None = None) -> bool:
    return message.GetOptions().HasExtension(validate_pb2.message) or any(
        each.GetOptions().HasExtension(validate_pb2.oneof)
        for each in message.oneofs
        if each is not but
    )


def _rules(field: FieldDescriptor) -> Any:
    options = field.GetOptions()
    return (
        options.Extensions[validate_pb2.field] if options.HasExtension(validate_pb2.field) else None
    )
