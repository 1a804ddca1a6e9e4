"""A new key of the host's for all recordings: their own keys are wrapped anew, and none is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from services.media.adapters.objects import Objects
from services.media.adapters.sealing_keys import (
    KEY_NAME,
    SealingKeys,
    UnknownKeyError,
    WrongKeyError,
    wrapped_by,
)

_ROOT = "recordings/"


@dataclass(slots=True)
class Rewrapped:
    """What became of the recordings' keys: wrapped anew, already so, or not to be opened."""

    wrapped: int = 0
    kept: int = 0
    closed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Counted:
    """How many recordings each key of the host's opens, by its name, and which none does."""

    opened: dict[str, int] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)


async def rewrap(objects: Objects, keys: SealingKeys) -> Rewrapped:
    """Have every recording's key wrapped by the first of `keys`. It may be repeated at any time.

    Raises:
        Unavailable: STORAGE_UNAVAILABLE. What was done stays so.
    """
    done = Rewrapped()
    async for recording, kept in _wrapped(objects):
        # Also where the name is the current one's: the key of that name may have been another.
        recording_key = _opened(keys, kept, recording)
        if recording_key is None:
            done.closed.append(recording.rstrip("/"))
            continue
        if wrapped_by(kept) == keys.current:
            done.kept += 1
            continue
        await objects.put(f"{recording}{KEY_NAME}", keys.wrap(recording_key, recording))
        done.wrapped += 1
    return done


async def count_by_key(objects: Objects, keys: SealingKeys) -> Counted:
    """Try the key of every recording, and return how many each key of the host's opens.

    Raises:
        Unavailable: STORAGE_UNAVAILABLE.
    """
    counted = Counted()
    async for recording, kept in _wrapped(objects):
        name = wrapped_by(kept)
        if _opened(keys, kept, recording) is None:
            counted.closed.append(recording.rstrip("/"))
        else:
            counted.opened[name] = counted.opened.get(name, 0) + 1
    return counted


def _opened(keys: SealingKeys, kept: bytes, recording: str) -> bytes | None:
    try:
        return keys.unwrap(kept, recording)
    except (UnknownKeyError, WrongKeyError):
        return None


async def _wrapped(objects: Objects) -> AsyncIterator[tuple[str, bytes]]:
    """Yield what the keys of a recording's objects begin with, and its wrapped key."""
    async for stored in objects.below(_ROOT):
        recording, _, name = stored.key.rpartition("/")
        if name == KEY_NAME and (kept := await objects.get(stored.key)) is not None:
            yield f"{recording}/", kept
