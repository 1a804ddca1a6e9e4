"""Whose fault it is that a file was not decoded in time: its own, or the machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import ResourceExhausted
from services.media.adapters import upload_decoder
from services.media.adapters.upload_decoder import UploadDecoder
from services.media.problems import Problem, Refused


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the clock's limit be over as soon as a process has begun."""
    monkeypatch.setattr(upload_decoder, "_CLOCK_SHARE", 0)


def decode(folder: Path) -> None:
    (folder / "upload").write_bytes(b"RIFF")
    UploadDecoder(60).decode(folder / "upload", "wav", folder / "samples", 10.0)


@pytest.mark.usefixtures("no_time")
def test_a_file_that_got_no_processor_is_not_called_bad(tmp_path: Path) -> None:
    """On a busy host good files were refused for good, as too costly."""
    with pytest.raises(ResourceExhausted) as caught:
        decode(tmp_path)
    assert (caught.value.reason, caught.value.retry_after) == ("MEDIA_BUSY", 30.0)


@pytest.mark.usefixtures("no_time")
def test_a_file_that_had_its_processor_time_is_too_costly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the system has no limit of it."""
    monkeypatch.setattr(upload_decoder, "_cpu_seconds", lambda _: 59.0)
    with pytest.raises(Refused) as caught:
        decode(tmp_path)
    assert caught.value.problem is Problem.TOO_COSTLY
