"""ID3v2: a tag in front of the sound, of MP3 by its rules, and of FLAC by some programs' habit."""

from __future__ import annotations

HEAD_BYTES = 10


def tag_bytes(head: bytes) -> int | None:
    """Return the length of the tag that begins with `head`; 0 where none does.

    None: one begins, and does not say how long it is.
    """
    if not head.startswith(b"ID3"):
        return 0
    parts = head[6:HEAD_BYTES]
    if len(parts) < 4 or any(each & 0x80 for each in parts):
        return None
    length = sum(each << shift for each, shift in zip(parts, (21, 14, 7, 0), strict=True))
    return HEAD_BYTES + length + (HEAD_BYTES if head[5] & 0x10 else 0)
