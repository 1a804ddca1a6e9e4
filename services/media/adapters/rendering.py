"""From originals to what is played. Streams through files, and blocks: call it in a pool."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.media.adapters import codec
from services.media.adapters.spool import Samples
from services.media.loudness import CEILING, levels, may_clip
from services.media.ports import DamagedError
from services.media.recordings import Recording, Track
from services.media.renditions import UNFINISHED, Encoding, Rendition
from services.media.timeline import ms_to_samples


@dataclass(frozen=True, slots=True)
class Source:
    """A track that goes into a rendition.

    size_bytes, samples: of its original.
    sha256: of its samples, as in `StoredTrack`.
    gain: what it is multiplied by, where there are several.
    """

    track: Track
    rate_hz: int
    size_bytes: int
    samples: int
    sha256: str
    gain: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All that making a rendition takes, but the sound itself.

    limited: whether the mix has to be kept below the ceiling.
    """

    sources: tuple[Source, ...]
    encoding: Encoding
    from_ms: int
    to_ms: int
    limited: bool


def plan(recording: Recording, wanted: Rendition) -> Plan:
    """Work out what a rendition of a finished recording is made of."""
    gains = levels(recording.tracks)
    sources = tuple(
        Source(
            track,
            stored.rate_hz,
            stored.size_bytes,
            stored.samples,
            stored.sha256,
            gains[track],
        )
        for track, stored in recording.tracks.items()
        if wanted.track in (track, Track.MIX)
    )
    return Plan(sources, wanted.encoding, wanted.from_ms, wanted.to_ms, may_clip(recording.tracks))


def partial_file(to: Path) -> Path:
    """Return where a rendition is written until it is complete."""
    return to.with_name(f"{to.name}{UNFINISHED}")


def render(plan: Plan, open_source: Callable[[int], BinaryIO], to: Path) -> None:
    """Write a rendition to the file `to`, which appears only when it is complete.

    Args:
        plan: what is made.
        open_source: opens the original of a source by its index; it is closed here.
        to: the file.

    Raises:
        DamagedError: an original does not give all the samples that it had when it was stored.
    """
    partial = partial_file(to)
    # The mix has the highest rate of its tracks, so it loses nothing of either.
    rate_hz = codec.codec_rate_hz(plan.encoding, max(each.rate_hz for each in plan.sources))
    count = ms_to_samples(plan.to_ms, rate_hz) - ms_to_samples(plan.from_ms, rate_hz)
    try:
        with ExitStack() as files:
            pieces = []
            for index, source in enumerate(plan.sources):
                file = files.enter_context(open_source(index))
                stretch = _stretch(file, source, plan)
                pieces.append(codec.resample(stretch, source.rate_hz, rate_hz, count))
            sound = _mixed(pieces, plan, rate_hz, count) if len(pieces) > 1 else pieces[0]
            codec.encode(partial, plan.encoding, rate_hz, sound)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(to)


def _mixed(
    pieces: Sequence[Iterator[Samples]], plan: Plan, rate_hz: int, count: int
) -> Iterator[Samples]:
    mixed = codec.mix(pieces, [each.gain for each in plan.sources])
    if plan.limited:
        mixed = codec.limit(mixed, rate_hz, CEILING)
    return codec.resample(codec.as_samples(mixed), rate_hz, rate_hz, count)


def _stretch(file: BinaryIO, source: Source, plan: Plan) -> Iterator[Samples]:
    """Yield a source's part of what is made: all of it, for silence may fill what never was only.

    Times are rounded to samples, so that the last one asked for may lie behind the last there is.
    A whole track is also held against what was recorded: it may be whole, and another.
    """
    start = ms_to_samples(plan.from_ms, source.rate_hz)
    stop = min(ms_to_samples(plan.to_ms, source.rate_hz), source.samples)
    left = max(stop - start, 0)
    digest = hashlib.sha256() if left == source.samples and source.sha256 else None
    for piece in codec.decode_flac(file, start, stop):
        left -= len(piece)
        if digest is not None:
            digest.update(piece.astype("<i2", copy=False).tobytes())
        yield piece
    if left:
        raise DamagedError(f"{left:,} samples of the {source.track.label} track are missing")
    if digest is not None and digest.hexdigest() != source.sha256:
        raise DamagedError(f"the {source.track.label} track is not the one that was recorded")
