"""Files made to break, deceive or overwhelm whoever decodes them. Made here, from a seed.

Some name other files and addresses, as playlists do: `Bait` says which, and whether anybody bit.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import av
import numpy as np

from tests.contract.media import hostile_mp4
from tests.contract.media.conftest import tone

HOURS_10 = 36_000
HOURS_4 = 14_400


@dataclass(frozen=True)
class Hostile:
    """A file, and what it must be refused with."""

    name: str
    data: bytes
    reason: str
    problem: str


@dataclass(frozen=True)
class Bait:
    """What no decoder may ever touch."""

    file: str
    url: str


def files(bait: Bait, seed: int) -> Iterator[Hostile]:
    """Make them all; the same from the same seed."""
    random = Random(seed)
    yield from _playlists(bait)
    yield from _cut(random)
    yield from _endless()
    yield from _lying(random)
    yield from _double(random)
    yield from _elsewhere(random)
    yield from _phones(bait)


# --- What names other files -------------------------------------------------------------------


def _playlists(bait: Bait) -> Iterator[Hostile]:
    playlist = f"#EXTM3U\n#EXTINF:1,\n{bait.url}\n#EXTINF:1,\n{bait.file}\n"
    live = f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0,\n{bait.url}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile '{bait.file}'\nfile '{bait.url}'\n"
    session = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nu={bait.url}\nm=audio 9 RTP/AVP 0\n"
    manifest = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
        f'<BaseURL>{bait.url}</BaseURL><AdaptationSet mimeType="audio/mp4"/></Period></MPD>'
    )
    picture = (
        f'<svg xmlns:x="http://www.w3.org/1999/xlink"><image x:href="file://{bait.file}"/></svg>'
    )
    for name, text in (
        ("a playlist called .wav", playlist),
        ("a live playlist", live),
        ("a list of files to join", concat),
        ("a session description", session),
        ("a manifest", manifest),
        ("a drawing that loads a file", picture),
    ):
        yield Hostile(name, text.encode(), "BAD_AUDIO", "not_audio")
    yield Hostile("a film that refers to a file", _quicktime(bait), "BAD_AUDIO", "foreign")
    # Readers of playlists skip what they do not know; readers of sound must not begin to.
    tag = b"ID3\x04\0\0\0\0\0\0"
    yield Hostile("a playlist behind a tag", tag + live.encode(), "BAD_AUDIO", "damaged")
    inside = b"RIFF" + struct.pack("<I", len(playlist) + 4) + b"WAVE" + playlist.encode()
    yield Hostile("a playlist in a WAV's clothes", inside, "BAD_AUDIO", "truncated")
    chunk = _chunk(b"LIST", b"INFO" + concat.encode())
    yield Hostile("a WAV of chunks without sound", _riff(chunk), "BAD_AUDIO", "damaged")


def _quicktime(bait: Bait) -> bytes:
    url = hostile_mp4.box(b"url ", bytes(4) + f"file://{bait.file}\0".encode())
    references = hostile_mp4.box(b"dref", bytes(4) + struct.pack(">I", 1) + url)
    index = hostile_mp4.box(b"moov", hostile_mp4.box(b"dinf", references))
    return hostile_mp4.box(b"ftyp", b"qt  \0\0\0\0qt  ") + index


# --- What ends too early ----------------------------------------------------------------------


def _cut(random: Random) -> Iterator[Hostile]:
    for name, container, codec in (
        ("WAV", "wav", "pcm_s16le"),
        ("FLAC", "flac", "flac"),
        ("MP3", "mp3", "libmp3lame"),
        ("Ogg", "ogg", "libopus"),
        ("WebM", "webm", "libopus"),
        ("M4A", "ipod", "aac"),
    ):
        whole = sound(container, codec)
        at = random.randrange(len(whole) // 2, len(whole) - 20)
        # FLAC's frames say how long they are only to who decodes them.
        problem = "damaged" if codec == "flac" else "truncated"
        yield Hostile(f"{name} that was cut in two", whole[:at], "BAD_AUDIO", problem)
    header = _riff(_pcm_format(16_000, 1) + b"data" + struct.pack("<I", 1 << 30))
    yield Hostile("a WAV of a gigabyte, less its sound", header, "BAD_AUDIO", "truncated")
    yield Hostile("a FLAC with nothing behind its header", flac(0, said=16_000), *_TRUNCATED)
    yield Hostile("a tag that is larger than its file", b"ID3\4\0\0\x7f\x7f\x7f\x7f", *_TRUNCATED)
    huge = b"\x1aE\xdf\xa3\x80" + b"\x18S\x80g\x01" + b"\x7f" * 7 + b"\x15I\xa9f\x84abcd"
    yield Hostile("a WebM of 36 petabytes", huge, *_TRUNCATED)


_TRUNCATED = ("BAD_AUDIO", "truncated")
_DAMAGED = ("BAD_AUDIO", "damaged")
_TOO_LONG = ("FILE_TOO_LARGE", "too_long")


# --- What is small and becomes large ----------------------------------------------------------


def _endless() -> Iterator[Hostile]:
    rate = 8_000
    blocks = HOURS_10 * rate // _BLOCK
    yield Hostile("10 h of silence, as FLAC", flac(blocks, rate, said=blocks * _BLOCK), *_TOO_LONG)
    yield Hostile("a FLAC that hides how long it is", flac(blocks, rate), *_TOO_LONG)
    short = flac(blocks, rate, said=_BLOCK)
    yield Hostile("a FLAC that says it is short", short, *_TOO_LONG)
    frame = b"\xff\xe3\x18\xc4" + bytes(68)  # MPEG 2.5, 8 kbit/s at 8 kHz: 72 ms in 72 bytes
    yield Hostile("4 h of silence, as MP3", frame * (HOURS_4 * 1000 // 72), *_TOO_LONG)
    yield Hostile("10 h of silence, as Opus", _silent_opus(HOURS_10), *_TOO_LONG)


_BLOCK = 65_535  # samples: the most that a frame of FLAC may have


def flac(blocks: int, rate_hz: int = 16_000, said: int = 0, channels: int = 1) -> bytes:
    """Return a FLAC of silence, by RFC 9639: a dozen bytes for each block of all channels.

    said: how many samples its header says; 0: not known.
    """
    packed = rate_hz << 44 | (channels - 1) << 41 | 15 << 36 | said
    information = struct.pack(">HH", _BLOCK, _BLOCK) + bytes(6) + struct.pack(">Q", packed)
    head = b"fLaC\x80\x00\x00\x22" + information + bytes(16)
    return head + _flac_frames(blocks, channels)


@cache
def _flac_frames(blocks: int, channels: int) -> bytes:
    return b"".join(_flac_frame(number, channels) for number in range(blocks))


def _flac_frame(number: int, channels: int) -> bytes:
    # A block of a size given behind, at the rate of the header, of 16 bits.
    head = b"\xff\xf8" + bytes([0x70, (channels - 1) << 4 | 8])
    head += _utf8(number) + struct.pack(">H", _BLOCK - 1)
    head += bytes([_crc(head, 0x07, 8)])
    frame = head + b"\0\0\0" * channels  # of each channel: constant, and the sample
    return frame + struct.pack(">H", _crc(frame, 0x8005, 16))


def _utf8(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    parts: list[int] = []
    room = 0x40
    while number >= room >> 1 or not parts:
        parts.append(0x80 | number & 0x3F)
        number >>= 6
        room >>= 1
    mark = (0xFF << (7 - len(parts))) & 0xFF
    return bytes([mark | number, *reversed(parts)])


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    crc, mask, top = 0, (1 << bits) - 1, 1 << (bits - 1)
    for byte in data:
        crc ^= byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & top else crc << 1) & mask
    return crc


_OGG_CRC = [0] * 256
for _index in range(256):
    _value = _index << 24
    for _ in range(8):
        _value = (_value << 1 ^ 0x04C11DB7 if _value & 0x80000000 else _value << 1) & 0xFFFFFFFF
    _OGG_CRC[_index] = _value


def page(packets: list[bytes], *, flags: int, granule: int, number: int, serial: int = 7) -> bytes:
    """Return a page of Ogg, by RFC 3533; packets of less than 255 bytes."""
    table = bytes(len(each) for each in packets)
    head = b"OggS\0" + bytes([flags]) + struct.pack("<qIII", granule, serial, number, 0)
    data = head + bytes([len(table)]) + table + b"".join(packets)
    return data[:22] + struct.pack("<I", ogg_crc(data)) + data[26:]


def ogg_crc(data: bytes | bytearray) -> int:
    """Return the checksum of a page whose own is zero."""
    crc = 0
    for byte in data:
        crc = (crc << 8 ^ _OGG_CRC[crc >> 24 ^ byte]) & 0xFFFFFFFF
    return crc


def _opus_head() -> list[bytes]:
    identity = b"OpusHead\1\1" + struct.pack("<HIhB", 312, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 1) + b"x" + struct.pack("<I", 0)
    return [
        page([identity], flags=2, granule=0, number=0),
        page([tags], flags=0, granule=0, number=1),
    ]


def _silent_opus(seconds: int) -> bytes:
    # Code 3 of RFC 6716: six frames of 20 ms, all of them empty, in two bytes.
    packet, samples = b"\x0b\x06", 5_760
    pages, made = _opus_head(), 0
    count = seconds * 48_000 // samples
    while made < count:
        packets = [packet] * min(255, count - made)
        made += len(packets)
        last = 4 if made == count else 0
        pages.append(page(packets, flags=last, granule=made * samples, number=len(pages)))
    return b"".join(pages)


# --- What says of itself what is not so -------------------------------------------------------


def _lying(random: Random) -> Iterator[Hostile]:
    samples = random.randbytes(4_000)
    whole = sound("flac", "flac")
    yield Hostile("a FLAC in a WAV's clothes", _riff(whole[4:]), *_TRUNCATED)
    for name, form in (
        ("a WAV without channels", _pcm_format(16_000, 0)),
        ("a WAV of 60,000 channels", _pcm_format(16_000, 60_000)),
        ("a WAV of 4 GHz", _pcm_format(4_000_000_000, 1)),
        ("a WAV without a rate", _pcm_format(0, 1)),
        ("a WAV whose numbers do not agree", _pcm_format(16_000, 2, block=1)),
    ):
        yield Hostile(name, _riff(form + _chunk(b"data", samples)), *_DAMAGED)
    game = _chunk(b"fmt ", struct.pack("<HHIIHHH", 0x61, 1, 16_000, 8_000, 1, 4, 0))
    data = _riff(game + _chunk(b"data", samples))
    yield Hostile("a WAV of a codec that is not taken", data, "BAD_AUDIO", "codec")
    broken = bytearray(whole)
    for _ in range(20):
        broken[random.randrange(len(whole) // 4, len(whole))] ^= 1 << random.randrange(8)
    yield Hostile("a FLAC with bits turned over", bytes(broken), *_DAMAGED)
    fast = flac(4, 600_000)
    yield Hostile("a FLAC of 600 kHz", fast, *_DAMAGED)
    streams = b"".join(
        page([random.randbytes(40)], flags=2, granule=0, number=0, serial=serial)
        for serial in range(5_000)
    )
    yield Hostile("an Ogg of 5,000 streams", streams, *_DAMAGED)
    nested = b"\x1aE\xdf\xa3\x80" + b"\x18S\x80g\xff" + b"\x1fC\xb6u\xff" * 50_000
    yield Hostile("a WebM of 50,000 open clusters", nested, "NO_AUDIO", "no_audio")
    yield Hostile(
        "noise that begins like an MP3",
        b"\xff\xfb\x90\xc4" + random.randbytes(9_000),
        "BAD_AUDIO",
        "foreign",
    )


# --- What is two kinds of file at once --------------------------------------------------------


def _double(random: Random) -> Iterator[Hostile]:
    foreign = ("BAD_AUDIO", "foreign")
    wav = sound("wav", "pcm_s16le")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("run.sh", "#!/bin/sh\n" + str(random.random()))
    hidden = archive.getvalue()
    yield Hostile("a WAV with an archive behind it", wav + hidden, *foreign)
    within = wav[12:] + _chunk(b"junk", hidden + b"\0" * (len(hidden) % 2))
    yield Hostile("a WAV with an archive inside", _riff(within), *foreign)
    mp3 = sound("mp3", "libmp3lame")
    yield Hostile("an MP3 with a program behind it", mp3 + b"\x7fELF" + bytes(60), *foreign)
    document = b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction 2 0 R>>endobj"
    tag = b"ID3\4\0\0\0\0" + bytes([len(document) >> 7, len(document) & 0x7F]) + document
    yield Hostile("an MP3 that is a document", tag + mp3, *foreign)
    page_ = b"<html><script>alert(1)</script></html>"
    comment = bytes([0x04]) + struct.pack(">I", len(page_))[1:] + page_
    flac_ = sound("flac", "flac")
    yield Hostile("a FLAC that is a web page", flac_[:42] + comment + flac_[42:], *foreign)
    yield Hostile("an Ogg with a WAV behind it", sound("ogg", "libopus") + wav, *foreign)
    yield Hostile("a WebM with a WAV behind it", sound("webm", "libopus") + wav, *foreign)
    image = b"GIF89a/*" + struct.pack("<H", 0) + b"*/=1;" + wav
    yield Hostile("a picture with a WAV behind it", image, "BAD_AUDIO", "not_audio")


def _elsewhere(random: Random) -> Iterator[Hostile]:
    nothing = ("BAD_AUDIO", "not_audio")
    yield Hostile("nothing", b"", *nothing)
    yield Hostile("noise", random.randbytes(5_000), *nothing)
    yield Hostile("a film without sound", _film(), "NO_AUDIO", "no_audio")
    yield Hostile(
        "a WAV of no samples",
        _riff(_pcm_format(16_000, 1) + _chunk(b"data", b"")),
        "NO_AUDIO",
        "no_audio",
    )


# --- What phones record -----------------------------------------------------------------------


def _phones(bait: Bait) -> Iterator[Hostile]:
    foreign = ("BAD_AUDIO", "foreign")
    whole = sound("ipod", "aac")
    fragmented = sound("mp4", "aac", movflags="frag_keyframe+empty_moov+default_base_moof")
    file, url = f"file://{bait.file}", bait.url
    yield Hostile("an M4A whose sound is in a file", hostile_mp4.elsewhere(whole, file), *foreign)
    yield Hostile("an M4A whose sound is far away", hostile_mp4.elsewhere(whole, url), *foreign)
    yield Hostile("an M4A that lists others", hostile_mp4.of_films(url), *foreign)
    yield Hostile("an M4A of 4 billion frames", hostile_mp4.of_many_frames(whole), *_DAMAGED)
    table = hostile_mp4.of_a_table_that_is_not_there(whole)
    yield Hostile("an M4A without half its tables", table, *_DAMAGED)
    frames = hostile_mp4.of_many_fragments_frames(fragmented)
    yield Hostile("an M4A of fragments without end", frames, *_DAMAGED)
    yield Hostile("an M4A whose index is packed", hostile_mp4.compressed(whole), *_DAMAGED)
    yield Hostile("an M4A of tracks in tracks", hostile_mp4.nested(20_000), *_DAMAGED)
    yield Hostile("an M4A with a WAV behind it", whole + sound("wav", "pcm_s16le"), *foreign)
    picture = hostile_mp4.box(b"ftyp", b"heic\0\0\0\0mif1") + hostile_mp4.box(b"meta", bytes(99))
    yield Hostile("a phone's photograph", picture, "BAD_AUDIO", "not_audio")


# --- Whole files to begin from ----------------------------------------------------------------


def sound(container: str, codec: str, *, bit_rate: int = 0, **options: str) -> bytes:
    """Return a proper file of two seconds; `options` are FFmpeg's."""
    rate_hz = 48_000 if codec == "libopus" else 16_000
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream: Any = output.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        if bit_rate:
            stream.bit_rate = bit_rate
        samples = tone(rate_hz, 2.0).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate_hz
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def _film() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream("mjpeg", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        grey = np.full((32, 32, 3), 128, np.uint8)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            output.mux(stream.encode(frame.reformat(format="yuvj420p")))
        output.mux(stream.encode(None))
    return file.getvalue()


def _pcm_format(rate_hz: int, channels: int, block: int | None = None) -> bytes:
    block = (channels * 2 if block is None else block) & 0xFFFF
    a_second = rate_hz * block & 0xFFFFFFFF
    return _chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate_hz, a_second, block, 16))


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
