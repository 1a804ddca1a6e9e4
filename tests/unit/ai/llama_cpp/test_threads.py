"""The language model leaves cores to the speech models, and always keeps a thread."""

from pathlib import Path

import pytest

from services.ai.adapters import llama
from services.ai.adapters.llama import LlamaSettings


@pytest.mark.parametrize(
    ("cores", "threads", "taken", "free"),
    [(2, 2, 0, 2), (2, 2, 1, 1), (2, 2, 2, 1), (4, 4, 1, 3), (16, 4, 2, 4), (1, 4, 0, 1)],
)
def test_what_computes_elsewhere_takes_threads(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, taken: int, free: int
):
    monkeypatch.setattr(llama, "_CORES", cores)
    settings = LlamaSettings(Path("model.gguf"), threads=threads, taken_cores=lambda: taken)
    assert settings.free_threads() == free
