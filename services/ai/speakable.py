"""Makes a model's text fit to be read aloud: no markup, no emoji, no code, no role names."""

from __future__ import annotations

import re
import unicodedata

_FENCED = re.compile(r"```.*?(```|$)", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_URL = re.compile(r"\b(?:https?://|www\.)\S+")
_TAG = re.compile(r"<[^>\s][^>]*>|<\|[^|]*\|>")
_LINE_MARK = re.compile(r"^\s*(?:#{1,6}\s+|[-*+\u2022]\s+|\d{1,2}[.)]\s+|>\s+)", re.MULTILINE)
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{1,3}|~~)(?=\S)(.+?)(?<=\S)\1(?!\w)")
_STAGE_DIRECTION = re.compile(
    r"[*(\[]\s*(?:smil|laugh|nod|paus|chuckl|sigh|wink|grin)[^*)\]]*[*)\]]", re.IGNORECASE
)
_ROLE = re.compile(r"^\s*(?:tutor|assistant|ai|teacher|system)\s*:\s*", re.IGNORECASE)
_NEXT_SPEAKER = re.compile(
    r"(?:^|\s)(?:learner|student|user|human)\s*:", re.IGNORECASE | re.MULTILINE
)
_SPACE = re.compile(r"\s+")
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.!?;:])")
_SPELT = {"&": " and ", "%": " percent", "\u2026": "...", "=": " equals ", "@": " at "}


def speakable(text: str) -> str:
    """Return ``text`` as it should be said; empty when nothing of it can be.

    White space at both ends is dropped and runs of it become one space.
    """
    text = before_next_speaker(text)
    text = _FENCED.sub(" ", text)
    text = _LINK.sub(r"\1", text)
    text = _URL.sub(" ", text)
    text = _TAG.sub(" ", text)
    text = _ROLE.sub("", text)
    text = _STAGE_DIRECTION.sub(" ", text)
    text = _LINE_MARK.sub("", text)
    while (plain := _EMPHASIS.sub(r"\2", text)) != text:
        text = plain
    text = "".join(_SPELT.get(sign, sign) for sign in text)
    text = "".join(sign if _is_said(sign) else " " for sign in text)
    text = _SPACE_BEFORE_MARK.sub(r"\1", _SPACE.sub(" ", text)).strip()
    return text if any(sign.isalnum() for sign in text) else ""


def before_next_speaker(text: str) -> str:
    """Return what comes before the model begins to speak for the learner."""
    match = _NEXT_SPEAKER.search(text)
    return text[: match.start()] if match else text


def _is_said(sign: str) -> bool:
    if sign in "*_#`~|<>{}[]\\^":
        return False
    # So (other symbols) holds emoji; Cf the joiners between them; Mn their variation selectors,
    # which composed letters do not need.
    return unicodedata.category(sign) not in {"So", "Sk", "Cf", "Cs", "Co", "Cn", "Mn", "Cc"} or (
        sign in "\n\t"
    )
