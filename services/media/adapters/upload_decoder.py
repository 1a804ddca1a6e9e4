"""Starts the process that decodes an upload, and reads its answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from services.common.errors import InvalidArgument, ParleyError, ResourceExhausted
from services.media.adapters.decode_upload import CPU_SECONDS

_WALL_SECONDS = 2 * CPU_SECONDS
"""The process is limited in its own time; this is for one that waits instead of working."""

_UNREADABLE = "It cannot be decoded: it is damaged, or of a codec that is not taken."


def decode_upload(source: Path, container: str, target: Path, max_seconds: float) -> int:
    """Decode `source` to `target` as PCM_S16LE mono; return its sample rate in hertz. Blocks.

    Raises:
        InvalidArgument: BAD_AUDIO, NO_AUDIO.
        ResourceExhausted: FILE_TOO_LARGE, when it lasts longer than `max_seconds`.
    """
    command = [
        sys.executable,
        "-I",
        str(Path(__file__).with_name("decode_upload.py")),
        str(source),
        container,
        str(target),
        str(max_seconds),
    ]
    try:
        # Without our environment: it may hold the object store's credentials.
        done = subprocess.run(
            command, env={}, capture_output=True, timeout=_WALL_SECONDS, check=False
        )
        answer = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        # It crashed, or a limit ended it. Either way the file is at fault.
        raise InvalidArgument(_UNREADABLE, reason="BAD_AUDIO") from None
    if "problem" in answer:
        raise _problem(str(answer["problem"]), max_seconds)
    return int(answer["rate_hz"])


def _problem(kind: str, max_seconds: float) -> ParleyError:
    match kind:
        case "no_audio":
            return InvalidArgument("There is no audio in it.", reason="NO_AUDIO")
        case "too_long":
            return ResourceExhausted(
                f"A file may last {max_seconds:,.0f} s.", reason="FILE_TOO_LARGE"
            )
        case _:
            return InvalidArgument(_UNREADABLE, reason="BAD_AUDIO")
