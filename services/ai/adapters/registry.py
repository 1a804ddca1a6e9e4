"""Local providers by the name of their model. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.ai.adapters.hibari import HibariSynthesizer
from services.ai.adapters.llama import LlamaLanguageModel, LlamaSettings
from services.ai.adapters.local_recognition import BASE_PIECE_S, Again
from services.ai.adapters.moonshine import TINY_PIECE_S, MoonshineRecognizer
from services.ai.adapters.moonshine_model import FoldedMoonshine, MergedMoonshine, MoonshineModel
from services.ai.adapters.second_hearing import SecondHearing, Weighed
from services.ai.adapters.silero import SileroVad
from services.ai.adapters.smart_turn import SmartTurn
from services.ai.adapters.whisper import WhisperRecognizer
from services.ai.adapters.whisper_model import WhisperModel
from services.ai.capabilities import (
    LanguageModel,
    Recognizer,
    Synthesizer,
    TurnDetector,
    VoiceActivityDetector,
)
from services.ai.compute import ComputePool
from services.ai.spare_time import SpareTime

# Of a second hearing: how much each counts, and its beams, fitted on half of the learners that
# docs/models.md tells of. Whisper is the better of the two on them; where it is in doubt, the other
# decides.
_WHISPER = (1.0, 8)
_MOONSHINE = (0.5, 5)


@dataclass(frozen=True, slots=True)
class LocalRuntime:
    """What local providers share: the pool, and the language model's share of the machine.

    ``careful`` is the folder of the model that hears turns a second time, in ``spare`` time; None:
    they are heard once. With ``pauses``, which finds the pauses in what is said, it hears them the
    first time as well.
    """

    pool: ComputePool
    sessions: int
    context_tokens: int
    language_model_threads: int
    cache_dir: Path | None = None
    llama_library: Path | None = None
    careful: Path | None = None
    spare: SpareTime | None = None
    pauses: VoiceActivityDetector | None = None


def second_hearing(whisper: WhisperModel, moonshine: FoldedMoonshine) -> SecondHearing:
    """Return the two that hear turns a second time."""
    return SecondHearing([Weighed(whisper, *_WHISPER), Weighed(moonshine, *_MOONSHINE)])


def _llama(folder: Path, runtime: LocalRuntime) -> LanguageModel:
    return LlamaLanguageModel(
        LlamaSettings(
            model=next(folder.glob("*.gguf")),
            cache_dir=runtime.cache_dir,
            # One more than live sessions: Generate must work while all of them talk.
            sessions=runtime.sessions + 1,
            context_tokens=runtime.context_tokens,
            threads=runtime.language_model_threads,
            library=runtime.llama_library,
            taken_cores=lambda: runtime.pool.running,
        )
    )


def _moonshine_base(folder: Path, runtime: LocalRuntime) -> Recognizer:
    model = FoldedMoonshine(folder)
    if runtime.careful is None:
        return MoonshineRecognizer(model, runtime.pool, piece_s=BASE_PIECE_S)
    whisper = WhisperModel(runtime.careful)
    again = None
    if runtime.spare is not None:
        hearing = second_hearing(whisper, model)
        again = Again(f"{runtime.careful.name}+{folder.name}", hearing, runtime.spare)
    return _recognizer(model, whisper, runtime, BASE_PIECE_S, again)


def _moonshine_tiny(folder: Path, runtime: LocalRuntime) -> Recognizer:
    model = MergedMoonshine(folder)
    if runtime.careful is None or runtime.pauses is None:
        return MoonshineRecognizer(model, runtime.pool, piece_s=TINY_PIECE_S)
    return _recognizer(model, WhisperModel(runtime.careful), runtime, TINY_PIECE_S)


def _recognizer(
    moonshine: MoonshineModel,
    whisper: WhisperModel,
    runtime: LocalRuntime,
    piece_s: float,
    again: Again | None = None,
) -> Recognizer:
    pool, pauses = runtime.pool, runtime.pauses
    if pauses is None:
        return MoonshineRecognizer(moonshine, pool, piece_s=piece_s, again=again)
    return WhisperRecognizer(whisper, moonshine, pauses, pool, segment_s=piece_s, again=again)


VOICE_ACTIVITY: Mapping[str, Callable[[Path, LocalRuntime], VoiceActivityDetector]] = {
    "silero-vad": lambda folder, _: SileroVad(folder / "silero_vad_16k_op15.onnx"),
}
TURN_DETECTORS: Mapping[str, Callable[[Path, LocalRuntime], TurnDetector]] = {
    "smart-turn-v3.2": lambda folder, runtime: SmartTurn(
        folder / "smart-turn-v3.2-cpu.onnx", runtime.pool
    ),
}
RECOGNIZERS: Mapping[str, Callable[[Path, LocalRuntime], Recognizer]] = {
    "moonshine-base-en-int8": _moonshine_base,
    "moonshine-tiny-en": _moonshine_tiny,
}
LANGUAGE_MODELS: Mapping[str, Callable[[Path, LocalRuntime], LanguageModel]] = {
    "qwen2.5-coder-1.5b-instruct": _llama,
    "qwen2.5-coder-0.5b-instruct": _llama,
    "smollm2-135m-instruct": _llama,
}
# A synthesizer that comes as a library has no folder.
SYNTHESIZERS: Mapping[str, Callable[[Path | None, LocalRuntime], Synthesizer]] = {
    "hibari-heart": lambda _, runtime: HibariSynthesizer(runtime.pool),
}
