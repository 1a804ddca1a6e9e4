"""Each part that takes bytes from outside: what broke it once, and what fuzzing begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import corpus, parts

each_part = pytest.mark.parametrize("part", parts.PARTS, ids=lambda part: str(part.__name__))


@each_part
def test_nothing_that_fuzzing_begins_with_breaks_it(part: Callable[[bytes], None], tmp_path: Path):
    for data in corpus.beginnings(part, tmp_path):
        for at in (len(data), len(data) // 2):
            parts.run(part, data[:at])


@each_part
def test_what_broke_it_once_does_no_longer(part: Callable[[bytes], None]):
    for path in corpus.kept(part):
        parts.run(part, path.read_bytes())
