"""What the search begins with: good input of every part, and what broke one once."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import numpy as np

from parley.conversation.v1 import conversation_pb2
from services.media.adapters.codec import codec_rate_hz, encode
from services.media.renditions import Encoding
from tests.fuzz import parts
from tests.fuzz.mutation import Mutator

SEEDS = Path(__file__).parent / "seeds"
RECORDED = Path(__file__).parents[1] / "data" / "uploads"

HINTS = {
    "engine": ("scripted",),
    "paths": ("profile.level", "profile"),
    "sample_rate_hz": (16000,),
}


def kept(part: Callable[[bytes], None]) -> list[Path]:
    """Return the files that broke `part` once."""
    return sorted(SEEDS.glob(f"{part.__name__}/*"))


def beginnings(part: Callable[[bytes], None], folder: Path) -> Iterator[bytes]:
    """Yield good input of `part`, and nearly good; `folder` is for what has to be encoded."""
    message = parts.messages_of(part)
    request = conversation_pb2.ConverseRequest.DESCRIPTOR
    for number in range(40):
        mutator = Mutator(f"{part.__name__} {number}", HINTS)
        if message is not None:
            yield mutator.message(message)[0]
        elif part is parts.talk:
            kinds = bytes([0, 2, 3, 1, 5, 0, 4, 4])
            yield in_pieces(bytes([each]) + mutator.valid(request)[:200] for each in kinds)
        elif part is parts.samples:
            yield b"\x1f\x40" + in_pieces(bytes([each]) * 150 for each in range(5))
        elif part is parts.reordering:
            pushed = conversation_pb2.PushRequest.DESCRIPTOR
            yield b"\0\0" + in_pieces([b"\1\3\2", b"\2\4", mutator.message(pushed)[0][:250]])
        elif part is parts.websocket_frames:
            yield _masked(0x82, mutator.valid(request)) + _masked(0x89, b"") + _masked(0x88, b"")
        elif part is parts.session:
            yield Random(number).randbytes(400)
    if part is parts.uploads:
        yield from _files(folder)
    if part is parts.texts:
        yield from (b'"phrase" word*', b"WzEsImEiLCJiIiwxXQ", "naïve 你好".encode())


def write_corpus(part: Callable[[bytes], None], folder: Path) -> None:
    """Write all of it to `folder`, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(beginnings(part, folder)):
        folder.joinpath(f"begin-{number}").write_bytes(data)
    for each in kept(part):
        folder.joinpath(f"kept-{each.name}").write_bytes(each.read_bytes())


def in_pieces(pieces: Iterable[bytes]) -> bytes:
    """Put together what `parts.pieces` takes apart."""
    return b"".join(bytes([len(each)]) + each for each in (piece[:255] for piece in pieces))


def _masked(first: int, payload: bytes) -> bytes:
    payload = payload[:125]
    return bytes([first, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def _files(folder: Path) -> Iterator[bytes]:
    tone = (np.sin(np.arange(3_200) / 5) * 9_000).astype(np.int16)
    for encoding in Encoding:
        path = folder / "tone"
        rate_hz = codec_rate_hz(encoding, 16_000)
        encode(path, encoding, rate_hz, [tone])
        yield path.read_bytes()
        path.unlink()
    path = folder / "tone"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(tone.tobytes())
    yield path.read_bytes()
    path.unlink()
    # As a browser records: WebM and MP4.
    for each in sorted(RECORDED.iterdir()):
        yield each.read_bytes()
