"""All the stand-ins at once, on a loop in a thread of their own, for other processes to find."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.vendors import anthropic_server as anthropic
from tests.contract.vendors import gemini_live_server as gemini
from tests.contract.vendors import google_server as google
from tests.contract.vendors import openai_server as openai
from tests.contract.vendors import realtime_server as realtime
from tests.contract.vendors import riva_server as riva

KEYS = {
    "ANTHROPIC_TEST_KEY": anthropic.KEY,
    "OPENAI_TEST_KEY": openai.KEY,
    "REALTIME_TEST_KEY": realtime.KEY,
    "GEMINI_TEST_KEY": gemini.KEY,
    "GOOGLE_TEST_KEY": google.KEY,
    "RIVA_TEST_KEY": riva.KEY,
}
"""What the environment of the services has to hold."""
SHIPPED = (
    "claude", "openai", "openai-all", "ollama", "vllm", "llama-server", "riva", "realtime", "gemini"
)  # fmt: skip
"""The engines that Parley ships and that find their providers here; `google` is the file's own."""


@dataclass(slots=True)
class Town:
    """The stand-ins, by the names of their vendors."""

    anthropic: anthropic.AnthropicServer
    openai: openai.OpenAiServer
    realtime: realtime.RealtimeServer
    gemini: gemini.GeminiLiveServer
    google: google.GoogleServer
    riva: riva.RivaServer

    @property
    def authority(self) -> Path:
        """The certificate of those that speak TLS."""
        return self.gemini.pem

    def engine_file(self) -> str:
        """Return an engine file in which what Parley ships finds its providers here."""
        parts = {
            "language_models.claude": self._at("anthropic", self.anthropic, "ANTHROPIC"),
            "speech_models.realtime": self._at("openai", self.realtime, "REALTIME")
            | {"model": realtime.MODEL, "voices": list(realtime.VOICES)},
            "speech_models.gemini": self._at("gemini", self.gemini, "GEMINI")
            | {"model": gemini.MODEL, "voices": list(gemini.VOICES)},
            "recognizers.google": self._at("google", self.google, "GOOGLE")
            | {"project": google.PROJECT},
            "synthesizers.google": self._at("google", self.google, "GOOGLE"),
            "recognizers.riva": self._at("riva", self.riva, "RIVA"),
            "synthesizers.riva": self._at("riva", self.riva, "RIVA"),
        }
        for name in ("openai", "ollama", "vllm", "llama-server"):
            parts[f"language_models.{name}"] = self._openai()
        parts["recognizers.openai"] = parts["synthesizers.openai"] = self._openai()
        parts["engines.google"] = {
            "recognizer": ["google"],
            "language_model": ["openai"],
            "synthesizer": ["google"],
        }
        return "\n".join(_table(name, fields) for name, fields in parts.items())

    def _openai(self) -> dict[str, Any]:
        return self._at("openai", self.openai, "OPENAI") | {"model": openai.MODEL}

    def _at(self, adapter: str, vendor: Any, key: str) -> dict[str, Any]:
        variable = f"{key}_TEST_KEY"
        return {"adapter": adapter, "base_url": vendor.base_url, "api_key_env": variable}


def _table(name: str, fields: dict[str, Any]) -> str:
    # Of the values that stand here, TOML and Python write all alike.
    lines = (f"{field} = {value!r}" for field, value in fields.items())
    return "\n".join([f"[{name}]", *lines, ""])


@contextmanager
def town() -> Iterator[Town]:
    """Run every stand-in until the block ends."""
    begun: Future[Town] = Future()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def live() -> None:
        async with AsyncExitStack() as stack:
            servers = (
                anthropic.anthropic_server(),
                openai.openai_server(),
                realtime.realtime_server(),
                gemini.gemini_live_server(),
                google.google_server(),
                riva.riva_server(),
            )
            begun.set_result(Town(*[await stack.enter_async_context(each) for each in servers]))
            await over.wait()

    def run() -> None:
        try:
            loop.run_until_complete(live())
        except BaseException as error:
            if not begun.done():
                begun.set_exception(error)
            raise
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="stand-ins")
    thread.start()
    try:
        yield begun.result(timeout=30)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
