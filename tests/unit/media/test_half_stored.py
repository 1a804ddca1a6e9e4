"""What a kill leaves behind: found and removed when the service starts again."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.media.adapters.half_stored import clear_half_stored

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def left(path: Path, seconds: float) -> Path:
    """Leave a file that was last written so long after the service started."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"voice")
    at = (STARTED + timedelta(seconds=seconds)).timestamp()
    os.utime(path, (at, at))
    return path


def test_what_was_half_stored_when_the_service_died_goes(tmp_path: Path) -> None:
    folder = tmp_path / "with space" / "recordings" / "one"
    gone = [left(folder / name, -1) for name in ("learner.flac#1", "tutor.flac#12")]
    kept = [left(folder / name, -1) for name in ("learner.flac", "key.json", "a#b", "#1")]
    kept.append(left(folder / "tutor.flac#1", 1))  # it is being stored just now
    assert clear_half_stored((tmp_path / "with space").as_uri(), STARTED) == 2
    assert not any(each.exists() for each in gone)
    assert all(each.exists() for each in kept)


def test_other_stores_see_to_it_themselves(tmp_path: Path) -> None:
    assert clear_half_stored("s3://bucket/prefix", STARTED) == 0
    assert clear_half_stored((tmp_path / "not there").as_uri(), STARTED) == 0
