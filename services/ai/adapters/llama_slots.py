"""Evaluated prompts on disk: a beginning that many slots share is evaluated once in its life.

llama.cpp's server can write a slot's cache to a file and read it back. For 400 tokens that takes
milliseconds, where evaluating them takes seconds. It offers this over its loopback HTTP port only,
which is open in any case; a key that nobody else knows keeps the port to ourselves.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from services.ai.capabilities import Message

# Reading or writing some megabytes of a local file.
_TIMEOUT_S = 10.0


class SlotFiles:
    """The saved slots of one model in ``folder``."""

    def __init__(self, folder: Path, address: str, key: str, model: Path) -> None:
        self._folder = folder
        self._address = address
        self._key = key
        self._model = model

    def name_of(self, messages: Sequence[Message], context_tokens: int) -> str:
        """Return the file name for an evaluated prompt.

        It changes with the model's file, with the prompt and with the context: a cache of another
        model, or of another shape, must never be read.
        """
        stat = self._model.stat()
        parts = [self._model.name, stat.st_size, stat.st_mtime_ns, context_tokens]
        parts += [f"{message.role.value}:{message.text}" for message in messages]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest() + ".slot"

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return (self._folder / name).is_file()

    def save(self, slot: int, name: str) -> bool:
        """Write what ``slot`` has evaluated; return whether it worked. Blocking."""
        for old in self._folder.glob("*.slot"):
            # One prompt is shared at a time; an older version's file would lie there for ever.
            old.unlink(missing_ok=True)
        return self._act(slot, "save", name)

    def restore(self, slot: int, name: str) -> bool:
        """Read ``name`` into ``slot``; return whether it worked. Blocking."""
        return self._act(slot, "restore", name)

    def _act(self, slot: int, action: str, name: str) -> bool:
        request = urllib.request.Request(  # noqa: S310 - the address is our own server's
            f"{self._address}/slots/{slot}?action={action}",
            data=json.dumps({"filename": name}).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
                return bool(response.status == 200)
        except (urllib.error.URLError, TimeoutError):
            return False
