"""Hostile files, through the real call to the real decoder: refused, and nothing else happens."""

import asyncio
import ctypes
import io
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from parley.media.v1 import media_pb2 as pb
from services.common.errors import Code
from services.media.adapters.structure import whole
from services.media.adapters.upload_decoder import lacking_barriers
from services.media.problems import Refused
from services.media.uploads import container_of
from tests.contract.media import hostile
from tests.contract.media.conftest import Media, Serve
from tests.contract.media.test_upload import upload

CODES = {
    "BAD_AUDIO": Code.INVALID_ARGUMENT,
    "NO_AUDIO": Code.INVALID_ARGUMENT,
    "FILE_TOO_LARGE": Code.RESOURCE_EXHAUSTED,
}

SEEDS = range(1, 1 + int(os.environ.get("HOSTILE_SEEDS", "1")))

EVERY = "HOSTILE_SEEDS" in os.environ
"""Whether those go through the call, too, that are refused before there is a decoder."""

_OPENED = 0x20  # IN_OPEN


@dataclass
class Watch:
    """A file and an address that nobody may come near, and who did."""

    bait: hostile.Bait
    events: int
    listener: socket.socket

    def openings(self) -> int:
        """Return how often the file was opened since the last look."""
        try:
            return len(os.read(self.events, 65_536)) // struct.calcsize("iIII")
        except BlockingIOError:
            return 0

    def callers(self) -> int:
        """Return how many came to the address since the last look."""
        count = 0
        while True:
            try:
                self.listener.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    file = folder / "bait.wav"
    file.write_bytes(hostile.sound("wav", "pcm_s16le"))
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(os.O_NONBLOCK)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        try:
            assert libc.inotify_add_watch(events, str(file).encode(), _OPENED) > 0
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/bait.wav"
            yield Watch(hostile.Bait(str(file), url), events, listener)
        finally:
            os.close(events)


def decoders() -> list[psutil.Process]:
    """Return the processes below this one that decode uploads, or did."""
    found = []
    for each in psutil.Process().children(recursive=True):
        # One may end just now.
        with suppress(psutil.NoSuchProcess):
            ended = each.status() == psutil.STATUS_ZOMBIE
            if ended or "decode_process" in " ".join(each.cmdline()):
                found.append(each)
    return found


@pytest.fixture
def at_rest() -> None:
    """See to it that the first service here begins no decoder to ask what barriers there are."""
    lacking_barriers()


def test_the_watch_sees_who_opens_and_who_calls(tmp_path: Path) -> None:
    """Without this, nobody having come would prove nothing."""
    with watched(tmp_path) as watch:
        assert (watch.openings(), watch.callers()) == (0, 0)
        Path(watch.bait.file).read_bytes()
        with socket.create_connection(watch.listener.getsockname()):
            assert (watch.openings(), watch.callers()) == (1, 1)


def structure_of(data: bytes) -> str:
    """Return what is wrong with a file's outer structure, which needs no decoder to be seen."""
    container = container_of(data[:16])
    if container is None:
        return ""
    try:
        whole.check(io.BytesIO(data), container)
    except Refused as refused:
        return refused.problem
    return ""


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_hostile_file_is_refused_and_nothing_else_happens(
    at_rest: None, serve_media: Serve, tmp_path: Path, seed: int
) -> None:
    async with serve_media(max_recording_seconds=3_600.0) as media:
        with watched(tmp_path) as watch:
            files = list(hostile.files(watch.bait, seed))
            assert len(files) >= 50
            wrong = []
            called = 0
            for each in files:
                seen = structure_of(each.data)
                if seen:
                    assert seen == each.problem, each.name
                    if not EVERY:
                        continue
                called += 1
                try:
                    error = await media.refused(upload(media, each.data, file_name="a.wav"))
                except pytest.fail.Exception:
                    wrong.append(f"{each.name}: taken")
                    continue
                got = (error.code, error.reason, error.metadata.get("problem"))
                if got != (CODES[each.reason], each.reason, each.problem):
                    wrong.append(f"{each.name}: {got}")
                if media.folders("uploads") or media.folders("spool") or decoders():
                    wrong.append(f"{each.name}: left something behind")
            assert wrong == []
            assert called >= 20
            assert (watch.openings(), watch.callers()) == (0, 0)
        # Who refused all these still does its work.
        good = await upload(media, hostile.sound("flac", "flac"))
        assert good.state == pb.RECORDING_STATE_READY


async def test_a_file_whose_sender_is_gone_is_decoded_no_further(
    at_rest: None, media: Media
) -> None:
    """It held the place of all who sent one after it, for a minute."""
    costly = hostile.flac(2_000, 384_000, channels=8)
    sending = asyncio.create_task(upload(media, costly))
    async with asyncio.timeout(30):
        while not decoders():
            await asyncio.sleep(0.01)
        sending.cancel()
        while decoders() or media.folders("uploads"):
            await asyncio.sleep(0.01)
    assert (await upload(media, hostile.sound("wav", "pcm_s16le"))).duration_ms == 2_000


async def test_a_file_that_takes_too_long_is_given_up(at_rest: None, serve_media: Serve) -> None:
    """A megabyte that decodes to hours of eight channels at 384 kHz."""
    costly = hostile.flac(2_000, 384_000, channels=8)
    async with serve_media(decode_seconds=1) as media:
        # While others have the processor it is the machine that is refused for, not the file.
        while (error := await media.refused(upload(media, costly))).reason == "MEDIA_BUSY":
            assert error.retry_after is not None
        assert (error.reason, error.metadata["problem"]) == ("BAD_AUDIO", "too_costly")
        assert not media.folders("uploads")
        assert not decoders()
        assert (await upload(media, hostile.sound("wav", "pcm_s16le"))).duration_ms == 2_000
