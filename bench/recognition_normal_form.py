"""The form in which two transcripts are compared: what can be heard, and nothing of spelling.

Case, punctuation, apostrophes and hyphens go; numbers are written out; the few words that are
written as one or as two get one form. Fillers and repetitions stay: they were said.
"""

from __future__ import annotations

import re

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
# Written as two words or as one, spoken alike.
_ONE_WORD = (("can not", "cannot"), ("all right", "alright"), ("every one", "everyone"))
_NUMBER = re.compile(r"\d[\d,]*")
_ORDINAL = re.compile(r"(\d[\d,]*)(?:st|nd|rd|th)\b")
_CLOCK = re.compile(r"\b(\d{1,2}):(\d{2})\b")
# Above this a number is read in ways that no rule foresees: digit by digit, then.
_MAX_NUMBER = 999_999


def normal_form(text: str) -> str:
    """Return ``text`` as words in lower case, single spaces between them."""
    text = text.lower().replace("\u2019", "'")
    text = _CLOCK.sub(lambda m: f"{m[1]} {m[2]}" if int(m[2]) else f"{m[1]} o clock", text)
    text = text.replace("%", " percent ").replace("&", " and ").replace("$", " dollars ")
    text = _ORDINAL.sub(lambda match: f" {ordinal(_int(match[1]))} ", text)
    text = _NUMBER.sub(lambda match: f" {cardinal(_int(match[0]))} ", text)
    text = text.replace("'", "")
    text = " ".join(re.sub(r"[^\w]+|_", " ", text).split())
    for apart, together in _ONE_WORD:
        text = re.sub(rf"\b{apart}\b", together, text)
    return text


def cardinal(number: int) -> str:
    """Return a number in words."""
    if number > _MAX_NUMBER:
        return " ".join(_ONES[int(digit)] for digit in str(number))
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f" {_ONES[ones]}" if ones else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    high, low = divmod(number, size)
    joint = " and " if size == 100 else " "
    return f"{cardinal(high)} {name}" + (f"{joint}{cardinal(low)}" if low else "")


def ordinal(number: int) -> str:
    """Return an ordinal number in words."""
    *before, last = cardinal(number).split()
    if last in _ORDINALS:
        last = _ORDINALS[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return " ".join([*before, last])


def _int(digits: str) -> int:
    return int(digits.replace(",", ""))
