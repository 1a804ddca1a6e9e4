"""What tries each limit of `services.common.limits` at N and at N + 1, by every kind of client.

`docs/limits.md` shows it, and `tests/e2e/test_every_limit.py` fails where a limit is missing here,
a test does not exist, or the small limits are tried by other clients than it says. Limits of the
contract are not here: their tests are made from the rules in the protos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CLIENTS = ("native", "grpc-web", "websocket")


@dataclass(frozen=True)
class Cell:
    """What tries a limit by one kind of client.

    test: `module:function`; empty where no such client can come to the limit.
    note: why that, or what the kinds of clients have in common that the limit lies behind.
    common: one test is for all the clients that have this cell, and none of them is in it.
    """

    test: str = ""
    note: str = ""
    common: bool = False


Row = Mapping[str, Cell]

SMALL = "tests.e2e.test_small_limits:test_a_client_comes_to_a_limit_and_not_past_it"

_EVERY = "tests.e2e.test_every_limit"
_EDGE = "tests.integration.gateway.test_edge"
_SESSION = "what judges a session's messages is the same whatever way they came"
_TURNS = "counted in the audio of a turn, whatever way it came"
_PASSWORDS = "counted where the password is looked at, whoever sent it"
_SIGN_IN = "a WebSocket carries a session alone, which nobody signs in or out with"
_NO_CALL = "a WebSocket carries a session alone"
_STREAMED = "a page streams no request outside a talk"
_BETWEEN = "between services"
_GATEWAY = "the gateway counts connections before it knows what they carry"


def every(test: str) -> Row:
    """All three come to it in the test."""
    return dict.fromkeys(CLIENTS, Cell(test))


def of_calls(test: str, *, websocket: str = _NO_CALL) -> Row:
    """Both that call come to it in the test."""
    return {"native": Cell(test), "grpc-web": Cell(test), "websocket": Cell(note=websocket)}


def alike(why: str, test: str) -> Row:
    """One test is for all three, for the reason given."""
    return dict.fromkeys(CLIENTS, Cell(test, why, common=True))


def alike_of_calls(why: str, test: str) -> Row:
    """One test is for both that call, for the reason given."""
    return {**alike(why, test), "websocket": Cell(note=_SIGN_IN)}


def native(test: str, page: str = _STREAMED, websocket: str = _NO_CALL) -> Row:
    """Only a native client comes to it."""
    return {"native": Cell(test), "grpc-web": Cell(note=page), "websocket": Cell(note=websocket)}


_CONVERSATION = "tests.unit.conversation"

TRIED: dict[str, Row] = {
    # Calls and messages.
    "max_message_bytes": of_calls(f"{_EVERY}:test_a_request_may_have_so_many_bytes_and_no_more"),
    "max_stream_message_bytes": every(
        f"{_EVERY}:test_a_live_message_may_have_so_many_bytes_and_no_more"
    ),
    "max_piece_message_bytes": native(
        f"{_EVERY}:test_a_piece_of_a_file_may_have_so_many_bytes_and_no_more"
    ),
    "max_open_message_bytes": of_calls(
        f"{_EVERY}:test_a_health_check_may_have_so_many_bytes_and_no_more"
    ),
    "max_metadata_bytes": {
        "native": Cell(
            "tests.unit.common.test_transport_limits:"
            "test_so_much_metadata_is_taken_and_a_byte_more_is_not"
        ),
        **dict.fromkeys(
            ("grpc-web", "websocket"),
            Cell(
                f"{_EDGE}:test_so_many_headers_are_taken_and_more_are_not",
                "a page's call and a handshake have the head of any request of HTTP/1.1",
                common=True,
            ),
        ),
    },
    "max_token_characters": every(SMALL),
    "max_service_token_characters": {
        **alike(
            _BETWEEN,
            "tests.unit.common.test_service_identity:"
            "test_a_token_has_so_many_characters_and_no_more",
        ),
        **dict.fromkeys(("grpc-web", "websocket"), Cell(note=_BETWEEN)),
    },
    "concurrent_calls": every(SMALL),
    "calls_per_user_per_second": every(SMALL),
    "calls_per_address_per_second": every(SMALL),
    "call_burst_seconds": every(SMALL),
    "concurrent_calls_per_user": every(SMALL),
    "default_deadline_seconds": of_calls(SMALL),
    "max_deadline_seconds": of_calls(SMALL),
    "max_stream_seconds": of_calls(
        SMALL, websocket="a WebSocket is no call; its learner's talks are bounded in time"
    ),
    "peer_deadline_seconds": {
        "native": Cell(
            "tests.unit.common.test_channel:"
            "test_a_unary_call_without_a_deadline_gets_the_peers_own",
            _BETWEEN,
            common=True,
        ),
        "grpc-web": Cell(note=_BETWEEN),
        "websocket": Cell(note=_BETWEEN),
    },
    # A live session.
    "max_audio_message_ms": every(f"{_EVERY}:test_audio_of_n_ms_is_taken_and_a_sample_more_is_not"),
    "max_audio_ahead_ms": every(SMALL),
    "audio_held_back_seconds": every(SMALL),
    "audio_catch_up_seconds": alike(
        _SESSION,
        f"{_CONVERSATION}.test_audio_gate:"
        "test_silence_earns_what_may_be_caught_up_with_and_no_file",
    ),
    "max_messages_per_second": every(SMALL),
    "message_burst_seconds": every(SMALL),
    "push_reorder_messages": of_calls(
        f"{_EVERY}:test_a_batch_may_lie_so_far_ahead_and_no_farther",
        websocket="its messages cannot overtake each other",
    ),
    "waiting_texts": alike(
        _SESSION,
        f"{_CONVERSATION}.test_session:"
        "TestEngineLost.test_so_many_texts_wait_for_an_engine_and_one_more_is_refused",
    ),
    "max_utterance_ms": alike(
        _TURNS, "tests.unit.ai.test_turn_taking:test_a_turn_without_any_pause_ends_at_the_limit"
    ),
    "conversation_idle_seconds": every(SMALL),
    "conversation_max_seconds": every(SMALL),
    "start_timeout_seconds": every(SMALL),
    "closing_seconds": native(
        SMALL, "a page says `finish`; it has no side to close", "a close of 1000 says `finish`"
    ),
    "unheard_seconds": every(SMALL),
    "engine_away_seconds": alike(
        _SESSION,
        "tests.integration.conversation.test_failures:"
        "test_an_engine_that_stays_away_ends_the_session_with_a_retryable_error",
    ),
    "max_reply_queued_ms": alike(
        _SESSION,
        f"{_CONVERSATION}.test_pace:test_the_pacer_keeps_its_order_its_lead_and_its_bound",
    ),
    "unsaved_turns": alike(
        _SESSION,
        f"{_CONVERSATION}.test_journal:test_it_takes_no_more_of_one_conversation_than_it_can_keep",
    ),
    "conversations_per_user": every(f"{_EVERY}:test_a_learner_has_n_talks_and_one_more_is_refused"),
    "resume_buffer_messages": every(SMALL),
    "resume_buffer_bytes": every(SMALL),
    "waiting_responses": every(SMALL),
    "waiting_response_bytes": every(SMALL),
    # Accounts, files, models.
    "sessions_per_user": of_calls(SMALL, websocket=_SIGN_IN),
    "max_username_characters": alike_of_calls(
        "looked at where the account is made, whoever sent it",
        "tests.unit.user.test_usernames:test_a_name_has_so_many_characters_and_no_more",
    ),
    "min_username_characters": alike_of_calls(
        "looked at where the account is made, whoever sent it",
        "tests.unit.user.test_usernames:test_a_name_has_at_least_so_many_characters",
    ),
    "max_email_characters": alike_of_calls(
        "looked at where the account is made, whoever sent it",
        "tests.unit.user.test_usernames:test_an_address_has_so_many_characters_and_no_more",
    ),
    "max_email_local_characters": alike_of_calls(
        "looked at where the account is made, whoever sent it",
        "tests.unit.user.test_usernames:test_an_address_has_so_many_characters_and_no_more",
    ),
    "max_marks_on_a_letter": alike_of_calls(
        "looked at where the account is made, whoever sent it",
        "tests.unit.user.test_usernames:test_a_letter_has_so_many_marks_and_no_more",
    ),
    "min_password_characters": alike_of_calls(
        _PASSWORDS,
        "tests.unit.user.test_password_rules:"
        "test_a_password_has_so_many_characters_and_no_fewer_or_more",
    ),
    "max_password_characters": alike_of_calls(
        _PASSWORDS,
        "tests.unit.user.test_password_rules:"
        "test_a_password_has_so_many_characters_and_no_fewer_or_more",
    ),
    "password_share": alike_of_calls(
        _PASSWORDS,
        "tests.unit.user.test_passwords:test_one_holder_fills_a_quarter_of_the_places_and_no_more",
    ),
    "login_name_factor": of_calls(SMALL, websocket=_SIGN_IN),
    "login_address_factor": of_calls(SMALL, websocket=_SIGN_IN),
    "login_tries_factor": of_calls(SMALL, websocket=_SIGN_IN),
    "login_address_tries_factor": of_calls(SMALL, websocket=_SIGN_IN),
    "exports_at_once": alike_of_calls(
        "counted where the copy is made, whoever asked for it",
        "tests.contract.user.test_export:"
        "test_one_more_than_are_made_at_once_is_refused_and_made_later",
    ),
    "uploads_per_user": native(
        "tests.contract.media.test_upload:test_one_account_sends_two_files_at_once_and_no_more"
    ),
    "upload_idle_seconds": native(
        "tests.contract.media.test_upload:test_an_upload_may_stand_still_so_long_and_no_longer"
    ),
    "waiting_renditions": alike_of_calls(
        "counted where the file is prepared, whoever asked for it",
        "tests.unit.media.test_workers:test_so_many_wait_and_one_more_is_told_when_to_come_again",
    ),
    "turns_page_bytes": alike_of_calls(
        "counted where the turns are read, whoever asked for them",
        "tests.contract.history.test_page_bytes:"
        "test_a_page_has_so_many_bytes_and_a_turn_that_is_more_begins_the_next",
    ),
    "waiting_speech_calls": alike(
        "counted where the model is asked, whatever for",
        "tests.unit.ai.test_compute:test_work_beyond_the_queue_is_refused_at_once",
    ),
}
"""By the limit's name and the client."""

OF_SETTINGS: dict[str, Row] = {
    "PARLEY_CONVERSATION_MAX_SESSIONS": every(SMALL),
    "PARLEY_AI_MAX_SESSIONS": alike(
        _SESSION,
        "tests.integration.conversation.test_bad_input:"
        "test_a_full_engine_is_told_with_a_time_to_retry",
    ),
    "PARLEY_CONVERSATION_RESUME_SECONDS": every(SMALL),
    "PARLEY_USER_LOGIN_ATTEMPTS": of_calls(SMALL, websocket=_SIGN_IN),
    "PARLEY_USER_REGISTRATIONS_PER_HOUR": of_calls(SMALL, websocket=_SIGN_IN),
    "PARLEY_USER_PASSWORD_QUEUE": alike_of_calls(
        _PASSWORDS,
        "tests.unit.user.test_passwords:test_more_than_may_wait_are_refused_with_a_time",
    ),
    "PARLEY_MEDIA_MAX_UPLOAD_BYTES": native(
        "tests.contract.media.test_upload:test_a_file_has_so_many_bytes_and_no_more"
    ),
    "PARLEY_MEDIA_MAX_UPLOADS_BYTES": native(
        "tests.contract.media.test_upload:test_the_files_of_one_account_take_so_much_and_no_more"
    ),
    "PARLEY_MEDIA_MAX_RECORDING_SECONDS": native(
        "tests.contract.media.test_upload:test_a_file_beyond_the_limits_is_refused"
    ),
    "PARLEY_MEDIA_DECODE_SECONDS": native(
        "tests.contract.media.test_hostile:test_a_file_that_takes_too_long_is_given_up"
    ),
    "PARLEY_GATEWAY_MAX_STREAMS": every(SMALL),
    "PARLEY_GATEWAY_MAX_CONNECTIONS": alike(
        _GATEWAY,
        f"{_EDGE}:test_more_connections_than_there_may_be_are_closed_at_once",
    ),
    "PARLEY_GATEWAY_SLOW_CLIENT_SECONDS": alike(
        _GATEWAY,
        f"{_EDGE}:test_who_says_nothing_or_a_byte_at_a_time_is_sent_away",
    ),
    "PARLEY_GATEWAY_UNARY_TIMEOUT_SECONDS": {
        **alike(
            "the gateway times a call, whatever protocol it came by",
            f"{_EDGE}:test_a_call_whose_request_comes_a_byte_at_a_time_ends",
        ),
        "websocket": Cell(note=_NO_CALL),
    },
}
"""The same of the settings that `services.common.limits_page` names."""

OF_EDGE: dict[str, Row] = {
    "the head of a request": alike(
        "every client's call begins with one",
        f"{_EDGE}:test_so_many_headers_are_taken_and_more_are_not",
    ),
    "streams of a connection": {
        "native": Cell(
            f"{_EDGE}:test_a_connection_is_told_how_many_streams_it_may_have",
            "told to every client of HTTP/2, whose library keeps to it",
            common=True,
        ),
        "grpc-web": Cell(
            f"{_EDGE}:test_a_connection_is_told_how_many_streams_it_may_have",
            "told to every client of HTTP/2, whose library keeps to it",
            common=True,
        ),
        "websocket": Cell(note="a WebSocket is a connection"),
    },
    "requests that wait for a connection": alike(
        "a service that answers has connections: what is tried is that there is a bound",
        f"{_EVERY}:test_the_gateway_has_the_bounds_that_the_page_names",
    ),
}
"""The same of what is no setting and stands in the gateway's configuration alone."""


_TITLE = """
## What tries them

Each at N and at N + 1, or not before N and then; `make test` runs it all. Where a row names
clients, its test calls as each of them does. Where it says that one test is for all, the limit lies
behind what those clients have in common, and is tried there. A limit without a row is a failed
test, and so is a row with a client that its test is not. Those of the contract are tried by every
client that comes to them, made from the rules in `protos/`, in
[test_every_limit.py](../tests/e2e/test_every_limit.py).

| limit | client | tried by |
|---|---|---|
"""


def render_tried() -> str:
    """Return the section of `docs/limits.md` that says what tries each limit."""
    lines = []
    for name, row in {**TRIED, **OF_SETTINGS, **OF_EDGE}.items():
        for cell in dict.fromkeys(row.values()):
            clients = [client for client, each in row.items() if each == cell]
            who = "every" if len(clients) == len(CLIENTS) else ", ".join(clients)
            lines.append(f"| `{name}` | {who} | {_shown(cell)} |\n")
    return _TITLE + "".join(lines)


def _shown(cell: Cell) -> str:
    if not cell.test:
        return f"does not come to it: {cell.note}"
    module, _, test = cell.test.partition(":")
    link = f"[{test.rpartition('.')[2]}](../{module.replace('.', '/')}.py)"
    if cell.common:
        level = module.split(".")[1]
        return f"one {level} test for all: {link}; {cell.note}"
    return f"{link}; {cell.note}" if cell.note else link
