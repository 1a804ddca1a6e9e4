"""A new key of the host's for all recordings: their own keys are wrapped anew, and none is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
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


async def rewrap(objects: Objects, keys: SealingKeys) -> Rewrapped:
    """Have every recording's key wrapped by the first of `keys`. It may be repeated at any time.

    Raises:
        Unavailable: STORAGE_UNAVAILABLE. What was done stays so.
    """
    done = Rewrapped()
    async for recording, kept in _wrapped(objects):
        if wrapped_by(kept) == keys.current:
            done.kept += 1
            continue
        try:
            recording_key = keys.unwrap(kept, recording)
        except (UnknownKeyError, WrongKeyError):
            done.closed.append(recording.rstrip("/"))
            continue
        await objects.put(f"{recording}{KEY_NAME}", keys.wrap(recording_key, recording))
        done.wrapped += 1
    return done


async def count_by_key(objects: Objects) -> Mapping[str, int]:
    """Return how many recordings' keys each key of the host's wraps.

    Raises:
        Unavailable: STORAGE_UNAVAILABLE.
    """
    counted: dict[str, int] = {}
    async for _, kept in _wrapped(objects):
        name = wrapped_by(kept)
        counted[name] = counted.get(name, 0) + 1
    return counted


async def _wrapped(objects: Objects) -> AsyncIterator[tuple[str, bytes]]:
    """Yield what the keys of a recording's objects begin with, and its wrapped key."""
    async for stored in objects.below(_ROOT):
        recording, _, name = stored.key.rpartition("/")
        if name == KEY_NAME and (kept := await objects.get(stored.key)) is not None:
            yield f"{recording}/", kept
