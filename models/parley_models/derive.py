"""Recipes: how files of a derived model are made from the fetched ones, and how they are checked.

A recipe runs in a process of its own: the gigabyte that a conversion needs goes back to the
system, and a crash in native code ends that process only.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata, resources
from pathlib import Path

from parley_models.errors import ConversionError, ManifestError

Recipe = Callable[[Path, Path], Mapping[str, str]]
"""Takes (inputs folder, outputs folder), makes the outputs and checks them; gives the versions of
the tools it used. Raises ConversionError."""

TIMEOUT_S = 600
"""The conversion takes 12 s on a slow core; this only ends one that hangs."""

CLIP_WORDS = [
    "i",
    "would",
    "like",
    "to",
    "book",
    "a",
    "table",
    "for",
    "two",
    "people",
    "tonight",
    "please",
]
"""What `check_clip.wav` says (spoken by Hibari, for this purpose)."""

CLIP_WORDS_HEARD = 0.75
"""Share of them the converted model must hear. A sound one hears all; a broken one, none."""


def run_recipe(recipe: str, inputs: Path, outputs: Path) -> Mapping[str, str]:
    """Runs the recipe of that name. Raises ConversionError, and ManifestError if there is none."""
    try:
        function = RECIPES[recipe]
    except KeyError:
        raise ManifestError(f"manifest: there is no recipe {recipe!r}") from None
    return function(inputs, outputs)


def moonshine_int8(inputs: Path, outputs: Path) -> Mapping[str, str]:
    """Converts Moonshine base and has the result transcribe a known clip."""
    return _converted("convert_moonshine", "transcribe", inputs, outputs)


def whisper_int8(inputs: Path, outputs: Path) -> Mapping[str, str]:
    """Converts Whisper base and has the result transcribe a known clip."""
    return _converted("convert_whisper", "transcribe-whisper", inputs, outputs)


def _converted(module: str, transcribe: str, inputs: Path, outputs: Path) -> Mapping[str, str]:
    run_module(f"parley_models.{module}", str(inputs), str(outputs))
    with resources.as_file(resources.files("parley_models") / "check_clip.wav") as clip:
        heard = run_module("parley_models.derive", transcribe, str(outputs), str(clip))
    check_transcript(heard)
    return {name: metadata.version(name) for name in ("onnx", "onnxruntime")}


def check_transcript(heard: str) -> None:
    """Raises ConversionError unless enough of the clip's words were heard."""
    words = set(re.findall(r"[a-z']+", heard.lower()))
    share = sum(w in words for w in CLIP_WORDS) / len(CLIP_WORDS)
    if share < CLIP_WORDS_HEARD:
        raise ConversionError(
            f"The converted recognizer does not hear the check clip (it wrote {heard!r}).\n"
            "Run the same command again; if it fails again, please report it with the versions "
            "of onnx and onnxruntime."
        )


def run_module(module: str, *arguments: str) -> str:
    """Runs `python -m module` and gives its output. Raises ConversionError with its last words."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(f"{module} did not end within {TIMEOUT_S} s.") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ConversionError(
            f"{module} failed: {last[0]}\n"
            "It needs about 1.2 GB of free memory. What was fetched is kept."
        )
    return done.stdout.strip()


RECIPES: Mapping[str, Recipe] = {
    "moonshine-int8": moonshine_int8,
    "whisper-int8": whisper_int8,
}
"""By the name that the manifest uses."""


def main() -> None:
    """`transcribe[-whisper] MODEL_FOLDER WAV`: prints what the converted recognizer hears."""
    # Only this process loads ONNX.
    from parley_models import moonshine_decode, whisper_decode  # noqa: PLC0415

    what, folder, clip = sys.argv[1:]
    decode = whisper_decode if what == "transcribe-whisper" else moonshine_decode
    print(decode.transcribe(Path(folder), moonshine_decode.read_clip(Path(clip))))


if __name__ == "__main__":
    main()
