"""What the gateway's log says of misrouted calls is what happened."""

from __future__ import annotations

import json

from tests.e2e.web.routing import SessionCall, astray, hand_overs, session_calls

A, B = "127.0.0.1:50052", "127.0.0.1:50062"


def call(method, host, begun, user="ana"):
    return SessionCall(method, user, host, begun)


def test_a_session_that_stays_has_nothing_astray():
    calls = [call("Subscribe", A, 1.0), call("Push", A, 1.5), call("Push", A, 9.0)]
    assert astray(calls) == []
    assert hand_overs(calls) == 0


def test_what_follows_its_session_to_another_process_is_at_the_right_place():
    calls = [
        call("Subscribe", A, 1.0),
        call("Push", A, 2.0),
        # Refused there, and nothing came of it.
        call("Subscribe", A, 2.5),
        call("Subscribe", B, 3.0),
        call("Push", B, 3.0),
        call("Upload", B, 4.0),
    ]
    assert astray(calls) == []
    assert hand_overs(calls) == 1


def test_each_call_at_the_process_that_has_let_go_or_does_not_hold_yet_is_counted():
    early, late = call("Push", B, 2.0), call("Push", A, 3.5)
    calls = [call("Subscribe", A, 1.0), early, call("Subscribe", B, 3.0), late, call("Push", B, 4)]
    assert astray(calls) == [early, late]


def test_learners_are_judged_apart():
    calls = [
        call("Subscribe", A, 1.0),
        call("Subscribe", B, 2.0, user="bo"),
        call("Push", A, 3.0),
        call("Push", B, 3.0, user="bo"),
    ]
    assert astray(calls) == []
    assert hand_overs(calls) == 0


def test_what_reached_no_process_is_nowhere_astray():
    assert astray([call("Subscribe", A, 1.0), call("Push", "", 2.0)]) == []


def test_the_log_is_read_for_calls_of_sessions_alone():
    def line(path, host):
        told = {"event": "access", "time": "2026-01-02T03:04:05.678Z", "path": path}
        return json.dumps(told | {"upstream_host": host, "user_id": "ana"})

    log = "\n".join(
        [
            "[warning] something that is no JSON",
            line("/parley.conversation.v1.ConversationService/Push", A),
            line("/parley.conversation.v1.ConversationService/Subscribe", None),
            line("/parley.history.v1.HistoryService/ListConversations", A),
            line("/ws", A),
        ]
    )
    push, subscribe = session_calls(log)
    assert push == SessionCall("Push", "ana", A, 1767323045.678)
    assert (subscribe.method, subscribe.host) == ("Subscribe", "")
