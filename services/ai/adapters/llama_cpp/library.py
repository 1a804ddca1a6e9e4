"""Finds llama.cpp's shared libraries and loads them once in the process.

They come with set-up, in one package a platform (`third_party/llama`): the same release built for
several generations of processors, of which the library itself takes the best that runs here.
"""

from __future__ import annotations

import ctypes
import json
import platform
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL, c_int, c_size_t, c_void_p
from pathlib import Path

from services.ai.adapters.llama_cpp.binding import RELEASES, LogCallback, check_layout, declare
from services.ai.capabilities import ProviderError

_METADATA = "_nlcBuildMetadata.json"
_PACKAGES = {
    ("linux", "x86_64"): "linux-x64",
    ("linux", "aarch64"): "linux-arm64",
    ("darwin", "x86_64"): "mac-x64",
    ("darwin", "arm64"): "mac-arm64-metal",
}
_INSTALLED = Path(__file__).resolve().parents[4] / "third_party" / "llama" / "node_modules"

_ADVICE = (
    "`make setup` installs it; or let PARLEY_AI_LLAMA_LIBRARY name a folder with the shared "
    f"libraries of llama.cpp {RELEASES[0]} (libllama, libggml and its libggml-cpu-…)"
)

# GGML_LOG_LEVEL_ERROR; the levels below it tell of progress.
_LEVEL_ERROR = 4
_MAX_LOG_LINES = 8

_guard = threading.Lock()
_loaded: dict[Path, CDLL] = {}


class LlamaLibraryError(ProviderError):
    """llama.cpp's libraries are missing, of another release or unusable; the message has advice."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}. {_ADVICE}", retryable=False)


def installed_folder() -> Path:
    """Return the folder where set-up puts this platform's libraries.

    Raises ``LlamaLibraryError`` where no package is made for this platform.
    """
    system, machine = platform.system().lower(), platform.machine().lower()
    name = _PACKAGES.get((system, machine))
    if name is None:
        raise LlamaLibraryError(f"no package of llama.cpp is made for {system} on {machine}")
    return _INSTALLED / "@node-llama-cpp" / name / "bins" / name


def load(folder: Path | None = None) -> CDLL:
    """Load the libraries of ``folder`` (default: the installed ones), their functions declared.

    Raises ``LlamaLibraryError``.
    """
    folder = (installed_folder() if folder is None else folder.expanduser()).resolve()
    with _guard:
        if folder not in _loaded:
            if _loaded:
                # Two copies of ggml in one process would share symbols and break each other.
                raise LlamaLibraryError(f"{next(iter(_loaded))} is already loaded, not {folder}")
            _loaded[folder] = load_from(folder)
        return _loaded[folder]


def load_from(folder: Path) -> CDLL:
    """Check and load the libraries of ``folder``; `load` is what keeps them. Raises the same."""
    release = _release_of(folder)
    if release is not None and release not in RELEASES:
        raise _wrong_release(folder, release)
    try:
        path = str(_main_library(folder))
        library = CDLL(path)
        declare(library, path)
    except (OSError, AttributeError) as error:
        raise LlamaLibraryError(f"the llama.cpp in {folder} cannot be used: {error}") from error
    # Its own word is "0.5.0", or "0.5.0-dev" where it was not built from a tagged checkout.
    said = "v" + library.llama_version().decode().partition("-")[0]
    if said not in RELEASES:
        raise _wrong_release(folder, said)
    misfit = check_layout(library)
    if misfit is not None:
        raise LlamaLibraryError(f"the llama.cpp in {folder} has another struct {misfit}")
    silence(library)
    library.ggml_backend_load_all_from_path(str(folder).encode())
    library.llama_backend_init()
    return library


def _wrong_release(folder: Path, release: str) -> LlamaLibraryError:
    return LlamaLibraryError(
        f"the llama.cpp in {folder} is of release {release}, "
        f"Parley is made for {' and '.join(RELEASES)}"
    )


def _main_library(folder: Path) -> Path:
    candidates = sorted(
        path
        for pattern in ("libllama.so", "libllama.*.so", "libllama.dylib", "libllama.*.dylib")
        for path in folder.glob(pattern)
    )
    if not candidates:
        raise LlamaLibraryError(f"there is no llama.cpp in {folder}")
    return candidates[0]


def _release_of(folder: Path) -> str | None:
    """Return the release that the package's metadata names, None where there is no metadata."""
    try:
        metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
        return str(metadata["buildOptions"]["llamaCpp"]["release"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stop_test() -> int:
    """Return the address of a native ``bool (*)(void *)``: is the byte at the pointer set?

    llama.cpp asks it between any two operations, hundreds of times a token. A Python callback would
    take the interpreter's lock each time and make the whole service wait for it, and it for the
    service. `strlen` of two bytes, of which the second is 0, is that test in machine code.
    """
    strlen = ctypes.CDLL(None).strlen
    strlen.restype, strlen.argtypes = c_size_t, (c_void_p,)
    return _address(strlen)


def silence(library: CDLL) -> None:
    """Have llama.cpp log nothing: its lines are for developers of models.

    `abs` of the level is a native function that does nothing: see `stop_test`.
    """
    nothing = ctypes.CDLL(None).abs
    nothing.restype, nothing.argtypes = c_int, (c_int,)
    library.llama_log_set(_address(nothing), None)


@contextmanager
def collected_errors(library: CDLL) -> Iterator[deque[str]]:
    """Yield the last error lines that llama.cpp logs inside the block."""
    lines: deque[str] = deque(maxlen=_MAX_LOG_LINES)

    def collect(level: int, text: bytes | None, _: object) -> None:
        if level == _LEVEL_ERROR and text:
            lines.append(text.decode(errors="replace").strip())

    callback = LogCallback(collect)
    library.llama_log_set(ctypes.cast(callback, c_void_p), None)
    try:
        yield lines
    finally:
        silence(library)


def _address(function: object) -> int:
    address = ctypes.cast(function, c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address
