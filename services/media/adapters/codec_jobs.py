"""The jobs that a codec process does, as they are put into messages and read again."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path

from services.media.adapters.codec_wire import Message
from services.media.adapters.rendering import Plan, Source
from services.media.adapters.spool import original_path
from services.media.ports import Originals
from services.media.recordings import StoredTrack, Track
from services.media.renditions import Encoding

RENDER, COMPLETE = "render", "complete"
"""To make a rendition; to make the originals of a spool."""


def render_job(plan: Plan, to: Path) -> Message:
    """Write what a rendition is made of, and where it goes."""
    return {
        "job": RENDER,
        "sources": [asdict(each) for each in plan.sources],
        "encoding": plan.encoding.name,
        "from_ms": plan.from_ms,
        "to_ms": plan.to_ms,
        "limited": plan.limited,
        "to": str(to),
    }


def read_render_job(message: Message) -> tuple[Plan, Path]:
    """Read what a rendition is made of, and where it goes."""
    sources = tuple(
        Source(
            Track(each["track"]),
            each["rate_hz"],
            each["size_bytes"],
            each["samples"],
            each["sha256"],
            each["gain"],
        )
        for each in message["sources"]
    )
    plan = Plan(
        sources,
        Encoding[message["encoding"]],
        message["from_ms"],
        message["to_ms"],
        message["limited"],
    )
    return plan, Path(message["to"])


def complete_job(folder: Path, rates_hz: Mapping[Track, int], said_ms: int) -> Message:
    """Write which spool is completed."""
    rates = [[int(track), rate_hz] for track, rate_hz in rates_hz.items()]
    return {"job": COMPLETE, "folder": str(folder), "rates_hz": rates, "said_ms": said_ms}


def read_complete_job(message: Message) -> tuple[Path, dict[Track, int], int]:
    """Read which spool is completed."""
    rates_hz = {Track(track): rate_hz for track, rate_hz in message["rates_hz"]}
    return Path(message["folder"]), rates_hz, message["said_ms"]


def originals_message(made: Originals) -> Message:
    """Write what a spool came to; where its files are, whoever asked for them knows."""
    return {
        "duration_ms": made.duration_ms,
        "tracks": [[int(track), asdict(stored)] for track, stored in made.tracks.items()],
        "waveform": base64.b64encode(made.waveform).decode(),
    }


def read_originals(message: Message, folder: Path, asked: Collection[Track]) -> Originals:
    """Read what a spool in `folder` came to, of whose tracks were `asked` for.

    Raises:
        ValueError, KeyError, TypeError: it is no such thing.
    """
    tracks = {Track(track): StoredTrack(**stored) for track, stored in message["tracks"]}
    if set(tracks) != set(asked):
        raise ValueError("other tracks than were asked for")
    return Originals(
        int(message["duration_ms"]),
        tracks,
        {track: original_path(folder, track) for track in tracks},
        base64.b64decode(message["waveform"]),
    )
