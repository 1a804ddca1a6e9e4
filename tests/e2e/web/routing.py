"""Where the calls of live sessions went, as the gateway itself wrote it down.

A client that is refused somewhere tries again, and may tell nobody; the gateway's log has every
call, with the process that got it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

SUBSCRIBE, PUSH, UPLOAD = "Subscribe", "Push", "Upload"


@dataclass(frozen=True, slots=True)
class SessionCall:
    """One call of a live session over grpc-web.

    Attributes:
        method: `SUBSCRIBE`, `PUSH` or `UPLOAD`.
        user_id: whose; with one session a user at a time, it names the session.
        host: the process that got it; empty where none did.
        begun: when, in seconds.
    """

    method: str
    user_id: str
    host: str
    begun: float


def session_calls(log: str) -> list[SessionCall]:
    """Read the gateway's log; what is not a call of a session is left out."""
    found = []
    for line in log.splitlines():
        if not line.startswith("{") or '"access"' not in line:
            continue
        call = json.loads(line)
        method = str(call["path"]).rpartition("/")[2]
        if method in (SUBSCRIBE, PUSH, UPLOAD):
            host = call["upstream_host"]
            begun = datetime.fromisoformat(call["time"]).timestamp()
            found.append(
                SessionCall(
                    method, call["user_id"] or "", "" if host in (None, "-") else host, begun
                )
            )
    return found


def astray(calls: Iterable[SessionCall]) -> list[SessionCall]:
    """Return what the learner's side sent to another process than the one that held the session.

    That is the one which answers the subscription begun last. Every user has one session.
    """
    wrong = []
    by_user: dict[str, list[SessionCall]] = defaultdict(list)
    for call in calls:
        by_user[call.user_id].append(call)
    for own in by_user.values():
        holder = ""
        # Of what begins in the same millisecond the subscription comes first: it opens the rest.
        for call in sorted(own, key=lambda each: (each.begun, each.method != SUBSCRIBE)):
            if call.method == SUBSCRIBE:
                holder = call.host or holder
            elif call.host and call.host != holder:
                wrong.append(call)
    return wrong


def hand_overs(calls: Sequence[SessionCall]) -> int:
    """Return how often a session came to another process, by its subscriptions."""
    subscriptions = sorted(
        (each for each in calls if each.method == SUBSCRIBE and each.host),
        key=lambda each: (each.user_id, each.begun),
    )
    return sum(
        len([host for host, _ in groupby(own, key=lambda each: each.host)]) - 1
        for _, own in groupby(subscriptions, key=lambda each: each.user_id)
    )
