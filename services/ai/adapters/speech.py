"""What speakers elsewhere have in common: voices, and audio in pieces of a good size."""

from __future__ import annotations

from services.ai.capabilities import ProviderError, Voice
from services.ai.engine_file import GeminiLive, OpenAiRealtime
from services.ai.speech_model import SpeechModelCapabilities

# The first piece is what the learner waits for; later ones each cost a message of their own.
_FIRST_MS = 80
_LARGEST_MS = 800


class Pieces:
    """Joins what arrives in any sizes to pieces that grow, of whole 16-bit samples."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._wanted_ms = _FIRST_MS
        self._held = b""

    def add(self, data: bytes) -> bytes:
        """Return a piece that is large enough now, or nothing."""
        self._held += data
        if len(self._held) < 2 * self._rate_hz * self._wanted_ms // 1000:
            return b""
        self._wanted_ms = min(2 * self._wanted_ms, _LARGEST_MS)
        return self.end()

    def end(self) -> bytes:
        """Return all whole samples that are held."""
        whole = len(self._held) - len(self._held) % 2
        piece, self._held = self._held[:whole], self._held[whole:]
        return piece


def voices_of(names: tuple[str, ...], rate_hz: int, who: str) -> tuple[Voice, ...]:
    """Return voices by their names, whose beginning may be a language: "en-GB-SoniaNeural"."""
    return tuple(Voice(name, _language(name), f"{name} ({who})", "", rate_hz) for name in names)


def speech_model_capabilities(
    name: str, part: OpenAiRealtime | GeminiLive, rate_hz: int, *, partials: bool
) -> SpeechModelCapabilities:
    """Return what the settings say of a speech-to-speech model."""
    return SpeechModelCapabilities(
        output_rate_hz=rate_hz,
        voices=voices_of(part.voices, rate_hz, name),
        languages=(part.language,),
        partials=partials,
        session_s=part.session_s,
        context_tokens=part.context_tokens,
        max_sessions=part.max_sessions,
        first_s=part.first_timeout_s,
        next_s=part.next_timeout_s,
    )


def chosen(voice: str, voices: tuple[Voice, ...], who: str) -> str:
    """Return the voice to speak with. Raises ``ProviderError`` for one that is not there."""
    if not voice:
        return voices[0].id
    if all(each.id != voice for each in voices):
        raise ProviderError(f"{who} has no voice {voice!r}", retryable=False)
    return voice


def is_speakable(text: str) -> bool:
    """Whether there is anything in ``text`` to say."""
    return any(character.isalnum() for character in text)


def _language(name: str) -> str:
    parts = name.split("-")
    if len(parts) > 2 and len(parts[0]) == 2 and len(parts[1]) == 2:
        return "-".join(parts[:2])
    return "en"
