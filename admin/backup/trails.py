"""What the trail of the services says was deleted: by ids, since that is all it has.

A trail is a folder of files by days, as `services.common.audit` writes them; that of each service,
or a folder with those of several.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ACCOUNT = "account_deleted"
_CONVERSATION = "conversation_deleted"
_RECORDING = "recording_deleted"

# What went because it was old is not among them: it may have been too few days that somebody named,
# and a restore is the way back from that.
_SAID = {
    _ACCOUNT: "user_id",
    _CONVERSATION: "conversation_id",
    _RECORDING: "recording_id",
}


@dataclass(frozen=True, slots=True)
class Deleted:
    """The ids of what learners deleted, a learner's account or one thing of theirs."""

    accounts: frozenset[str] = frozenset()
    conversations: frozenset[str] = frozenset()
    recordings: frozenset[str] = frozenset()


def deleted_by(trails: Iterable[Path]) -> Deleted:
    """Return what was deleted, by all trails in these folders, and in those below them.

    A line that was cut off, or says something else, says nothing.
    """
    found: dict[str, set[str]] = {event: set() for event in _SAID}
    for trail in trails:
        for path in sorted(trail.rglob("*.jsonl")):
            for said in _lines(path):
                event = said.get("event")
                which = said.get(_SAID[event]) if event in _SAID else None
                if isinstance(which, str):
                    found[str(event)].add(which)
    return Deleted(*(frozenset(found[each]) for each in (_ACCOUNT, _CONVERSATION, _RECORDING)))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            # Most lines tell of other things, and there are years of them.
            if "_deleted" not in line:
                continue
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and isinstance(said.get("event"), str):
                yield said
