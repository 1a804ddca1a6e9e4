"""Files as phones, browsers and old programs write them: untidy, and taken all the same."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from services.media.adapters import decode_upload
from services.media.problems import Refused
from services.media.uploads import container_in
from tests.contract.media.conftest import decoded, tone
from tests.contract.media.hostile import ogg_crc, sound
from tests.contract.media.test_upload import encoded

REAL = Path(__file__).parents[2] / "data" / "uploads"


def taken(data: bytes, seconds: float = 2.0) -> None:
    """Decode a file as the process for it does; it must be taken, and whole."""
    container = container_in(io.BytesIO(data))
    assert container is not None
    out = io.BytesIO()
    rate_hz, samples = decode_upload.decode(io.BytesIO(data), container, out, 60.0)
    assert samples * 2 == len(out.getvalue())
    assert samples / rate_hz == pytest.approx(seconds, abs=0.15)
    assert np.abs(np.frombuffer(out.getvalue(), "<i2").astype(int)).max() > 4_000


@pytest.mark.parametrize("name", ["chromium-153.webm", "chromium-153.mp4"])
def test_what_a_browser_recorded_is_taken(name: str) -> None:
    """Of unknown length, in pieces: its `MediaRecorder` cannot go back to the beginning."""
    taken((REAL / name).read_bytes(), seconds=1.0)


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("ipod", "aac", {}),
        ("ipod", "alac", {}),
        ("mov", "aac", {}),
        ("3gp", "aac", {}),
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        ("mp4", "libopus", {}),
        ("webm", "libopus", {"live": "1"}),
        ("wav", "pcm_f32le", {}),
        ("wav", "pcm_alaw", {}),
    ],
)
def test_what_phones_and_studios_write_is_taken(
    container: str, codec: str, options: dict[str, str]
) -> None:
    taken(sound(container, codec, **options))


# --- FLAC -------------------------------------------------------------------------------------


def test_flac_in_ogg_is_taken() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as output:
        stream: Any = output.add_stream("flac", rate=16_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(tone(16_000, 2.0).reshape(1, -1), "s16", "mono")
        frame.sample_rate = 16_000
        packets = [*stream.encode(frame), *stream.encode(None)]
        # The encoder's last has no sound: it tells what would go into a header of FLAC's own.
        output.mux([each for each in packets if each.size])
    taken(file.getvalue())


def test_flac_with_an_mp3s_tag_in_front_is_taken() -> None:
    """EAC and others write one; every player plays it."""
    tag = b"ID3\4\0\0" + bytes([0, 0, 1, 2]) + bytes(130)
    flac = sound("flac", "flac")
    taken(tag + flac)
    cut = io.BytesIO((tag + flac)[:-2_000])
    with pytest.raises(Refused):
        decode_upload.decode(cut, "flac", io.BytesIO(), 60.0)


# --- Ogg --------------------------------------------------------------------------------------


def test_a_voice_note_that_does_not_say_where_it_ends_is_taken() -> None:
    """Of Telegram on Android: no page is marked as the last."""
    data = bytearray(sound("ogg", "libopus"))
    last = data.rindex(b"OggS")
    data[last + 5] &= ~4
    data[last + 22 : last + 26] = bytes(4)
    data[last + 22 : last + 26] = struct.pack("<I", ogg_crc(data[last:]))
    taken(bytes(data))


# --- MP3 --------------------------------------------------------------------------------------


def synchsafe(length: int) -> bytes:
    """Return a length in four bytes of seven bits."""
    return bytes(length >> shift & 0x7F for shift in (21, 14, 7, 0))


def with_a_picture(data: bytes) -> bytes:
    """Return it with its cover in front, and an old tag behind."""
    image = b"\0image/png\0\3cover\0" + np.random.default_rng(1).bytes(60_000)
    frame = b"APIC" + struct.pack(">I", len(image)) + b"\0\0" + image
    return b"ID3\3\0\0" + synchsafe(len(frame)) + frame + data + b"TAG" + bytes(125)


def with_an_ape_tag(data: bytes) -> bytes:
    """Return it with a tag behind it that has a head and a foot."""
    rest = struct.pack("<III", 2_000, 40, 1)
    head = b"APETAGEX" + rest + struct.pack("<I", 0xA0000000) + bytes(8)
    foot = b"APETAGEX" + rest + struct.pack("<I", 0x80000000) + bytes(8)
    return data + head + bytes(8) + foot


def with_filling(data: bytes) -> bytes:
    """Return it behind a tag of nothing but room, as editors leave."""
    return b"ID3\3\0\0" + synchsafe(2_048) + bytes(2_048) + data


@pytest.mark.parametrize("messy", [with_a_picture, with_an_ape_tag, with_filling])
def test_an_mp3_with_tags_around_it_is_taken(messy: Callable[[bytes], bytes]) -> None:
    taken(messy(sound("mp3", "libmp3lame")))


def test_an_mp3_that_was_joined_of_several_is_taken() -> None:
    """Tags in the middle, other bit rates, another sample rate, two channels from there on."""
    studio = encoded(tone(44_100, 2.0), "mp3", "libmp3lame", 44_100, "stereo")
    parts = (sound("mp3", "libmp3lame", bit_rate=each) for each in (32_000, 64_000))
    taken(b"".join(parts) + studio, seconds=6.15)


def test_an_mp3_cut_out_of_a_longer_one_is_taken() -> None:
    """Its first frames refer to some that are not there any more."""
    data = sound("mp3", "libmp3lame", bit_rate=32_000)
    frame = 144  # bytes, of 36 ms; the one that tells of the others has 36 more
    first = data.index(b"\xff\xf3") + 36
    taken(data[first + 10 * frame : first + 40 * frame], seconds=30 * 0.036)


# --- WAV --------------------------------------------------------------------------------------


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk, filled to an even length."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(chunks: bytes, more: int = 0) -> bytes:
    """Return a WAV; its length is told wrong by `more`."""
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + more) + b"WAVE" + chunks


def with_odd_chunks(form: bytes, samples: bytes) -> bytes:
    """Return it as field recorders and editors write it: chunks before, between and behind."""
    return riff(
        chunk(b"JUNK", bytes(28))
        + chunk(b"bext", bytes(602))
        + form
        + chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 5) + b"Audac\0")
        + chunk(b"odd ", b"abc")
        + chunk(b"data", samples)
        + chunk(b"id3 ", b"ID3\3\0\0\0\0\0\0")
        + chunk(b"iXML", b'<?xml version="1.0"?><BWFXML/>')
    )


def streamed(form: bytes, samples: bytes) -> bytes:
    """Return it as programs write it to a pipe."""
    return b"RIFF\xff\xff\xff\xffWAVE" + form + b"data\xff\xff\xff\xff" + samples


def never_finished(form: bytes, samples: bytes) -> bytes:
    """Return it as recorders leave it that lost their power."""
    return b"RIFF\0\0\0\0WAVE" + form + b"data\0\0\0\0" + samples


def counting_itself(form: bytes, samples: bytes) -> bytes:
    """Return it with its head counted into its length."""
    return riff(form + chunk(b"data", samples), more=8)


def filled_up(form: bytes, samples: bytes) -> bytes:
    """Return it with zeros up to a whole block."""
    return riff(form + chunk(b"data", samples)) + bytes(512)


@pytest.mark.parametrize(
    "messy", [with_odd_chunks, streamed, never_finished, counting_itself, filled_up]
)
def test_an_untidy_wav_is_taken(messy: Callable[[bytes, bytes], bytes]) -> None:
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16))
    taken(messy(form, tone(16_000, 2.0).astype("<i2").tobytes()))


def test_a_telephone_call_is_taken() -> None:
    """8 kHz, mu-law: 8 bits a sample, an odd number of them, and nothing to fill it up."""
    form = struct.pack("<HHIIHHH", 7, 1, 8_000, 8_000, 1, 8, 0)
    samples = np.random.default_rng(2).bytes(16_001)
    chunks = chunk(b"fmt ", form) + b"data" + struct.pack("<I", len(samples)) + samples
    taken(riff(chunks))
    taken(riff(chunks) + b"\0")


def test_a_studios_wav_is_taken_at_the_rate_that_is_kept() -> None:
    """96 kHz, stereo, 24 bits, in the extended form."""
    loud = tone(96_000, 2.0).astype("<i4") << 8
    samples = np.repeat(loud, 2).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    guid = b"\1\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    head = struct.pack("<HHIIHHHHI", 0xFFFE, 2, 96_000, 576_000, 6, 24, 22, 24, 3)
    data = riff(chunk(b"fmt ", head + guid) + chunk(b"data", samples))
    taken(data)
    assert decoded(data)[1] == 96_000
