"""Between the contract's messages and the domain's values."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from functools import cache

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from parley.types.v1 import learner_pb2
from parley.user.v1 import user_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.timestamps import to_timestamp
from services.user.accounts import Account, Preferences, Profile, Session, TurnTaking
from services.user.tokens import Tokens

_CHANGEABLE = ("profile", "turn_taking", "voice")


def account_message(account: Account) -> user_pb2.Account:
    """Return the account as its owner sees it."""
    profile, turns = account.preferences.profile, account.preferences.turn_taking
    message = user_pb2.Account(
        user_id=account.user_id,
        username=account.username.shown,
        created_at=to_timestamp(account.created_at),
        profile=learner_pb2.LearnerProfile(
            display_name=profile.display_name,
            first_language=profile.first_language,
            level=learner_pb2.CefrLevel.ValueType(profile.level),
            interests=profile.interests,
            goals=profile.goals,
            time_zone=profile.time_zone,
        ),
        turn_taking=learner_pb2.TurnTakingPreferences(
            push_to_talk=turns.push_to_talk,
            no_hints=turns.no_hints,
            no_barge_in=turns.no_barge_in,
            typical_pause_ms=turns.typical_pause_ms,
        ),
        voice=account.preferences.voice,
    )
    if turns.patience is not None:
        message.turn_taking.patience = turns.patience
    return message


def tokens_message(tokens: Tokens) -> user_pb2.TokenPair:
    """Return the tokens as a client gets them."""
    return user_pb2.TokenPair(
        access_token=tokens.access_token,
        access_token_expires_at=to_timestamp(tokens.access_expires_at),
        refresh_token=tokens.refresh_token,
        refresh_token_expires_at=to_timestamp(tokens.refresh_expires_at),
    )


def session_message(session: Session, current_id: str) -> user_pb2.Session:
    """Return the session as ListSessions shows it."""
    return user_pb2.Session(
        session_id=session.session_id,
        device_name=session.device_name,
        created_at=to_timestamp(session.created_at),
        last_used_at=to_timestamp(session.last_used_at),
        current=session.session_id == current_id,
    )


def profile_value(message: learner_pb2.LearnerProfile) -> Profile:
    """Return the profile in `message`, whose rules were enforced already.

    Raises:
        InvalidArgument: INVALID_REQUEST, when the time zone is not one of the IANA's.
    """
    if message.time_zone and message.time_zone not in _time_zones():
        why = "must be an IANA time zone such as Europe/Madrid"
        raise InvalidArgument(
            f"The time zone {why}.",
            reason="INVALID_REQUEST",
            fields=[FieldViolation("profile.time_zone", why)],
        )
    return Profile(
        display_name=message.display_name,
        first_language=message.first_language,
        level=message.level,
        interests=tuple(message.interests),
        goals=tuple(message.goals),
        time_zone=message.time_zone,
    )


def merged_preferences(account: Account, request: user_pb2.UpdateProfileRequest) -> Preferences:
    """Return the account's preferences with the fields replaced that the request names.

    Without a mask those are the fields that are set in it.

    Raises:
        InvalidArgument: PROFILE_FIELD_UNKNOWN, naming the paths; INVALID_REQUEST for the zone.
    """
    mask = FieldMask(paths=request.update_mask.paths or _set_paths(request.account))
    wrong = [path for path in mask.paths if not _is_changeable(path)]
    if wrong:
        raise InvalidArgument(
            f"The mask names what cannot be changed: {', '.join(wrong)}.",
            reason="PROFILE_FIELD_UNKNOWN",
            fields=[FieldViolation("update_mask", f"{path!r} cannot be changed") for path in wrong],
        )
    result = account_message(account)
    given = user_pb2.Account()
    given.CopyFrom(request.account)
    for path in mask.paths:
        message, _, inner = path.partition(".")
        if inner:
            # The merge skips a path whose message is not set; here it means: clear the field.
            getattr(given, message).SetInParent()
    # In protobuf's merge a message or list is added to; an update replaces it.
    mask.MergeMessage(given, result, True, True)
    turns = result.turn_taking
    return Preferences(
        profile_value(result.profile),
        TurnTaking(
            patience=turns.patience if turns.HasField("patience") else None,
            push_to_talk=turns.push_to_talk,
            no_hints=turns.no_hints,
            no_barge_in=turns.no_barge_in,
            typical_pause_ms=turns.typical_pause_ms,
        ),
        result.voice,
    )


def _set_paths(message: Message, prefix: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        path = prefix + field.name
        if not prefix and field.name not in _CHANGEABLE:
            continue  # a client that sends back the whole account means no harm
        if isinstance(value, Message):
            yield from _set_paths(value, f"{path}.")
        else:
            yield path


def _is_changeable(path: str) -> bool:
    first, *rest = path.split(".")
    if first not in _CHANGEABLE or len(rest) > 1:
        return False
    inner = user_pb2.Account.DESCRIPTOR.fields_by_name[first].message_type
    return not rest or (inner is not None and rest[0] in inner.fields_by_name)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
