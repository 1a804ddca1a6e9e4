"""llama.cpp is found, of the right release, and fits the structs of the binding; or it is said."""

from __future__ import annotations

import ctypes
import json
import platform
from pathlib import Path

import pytest

from services.ai.adapters.llama_cpp import binding, library
from services.ai.adapters.llama_cpp.library import LlamaLibraryError


def metadata(folder: Path, release: str) -> None:
    content = {"buildOptions": {"llamaCpp": {"repo": "ggml-org/llama.cpp", "release": release}}}
    (folder / "_nlcBuildMetadata.json").write_text(json.dumps(content))


def test_a_missing_library_says_what_to_do(tmp_path: Path):
    with pytest.raises(LlamaLibraryError, match=r"make setup.*PARLEY_AI_LLAMA_LIBRARY") as caught:
        library.load_from(tmp_path)
    assert not caught.value.retryable


def test_another_release_is_refused_before_it_is_loaded(tmp_path: Path):
    metadata(tmp_path, "v0.3.9")
    (tmp_path / "libllama.so").write_bytes(b"not even a library")
    with pytest.raises(LlamaLibraryError, match=r"v0\.3\.9.*v0\.5\.0"):
        library.load_from(tmp_path)


def test_a_broken_library_is_told(tmp_path: Path):
    metadata(tmp_path, binding.RELEASES[0])
    (tmp_path / "libllama.so").write_bytes(b"not a library")
    with pytest.raises(LlamaLibraryError, match="cannot be used"):
        library.load_from(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"buildOptions": 3}'])
def test_broken_metadata_is_no_metadata(tmp_path: Path, content: str):
    (tmp_path / "_nlcBuildMetadata.json").write_text(content)
    with pytest.raises(LlamaLibraryError, match=r"there is no llama\.cpp"):
        library.load_from(tmp_path)


def test_a_platform_without_a_package_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    with pytest.raises(LlamaLibraryError, match="pdp11"):
        library.installed_folder()


def test_the_installed_library_has_the_layouts_of_the_binding():
    """Defaults that llama.h documents are read back through the structs."""
    assert binding.check_layout(library.load()) is None


def test_a_layout_that_moved_is_noticed(monkeypatch: pytest.MonkeyPatch):
    class Longer(ctypes.Structure):
        _fields_ = (("new", ctypes.c_uint32), *binding.ContextParams._fields_)

    loaded = library.load()
    function = loaded.llama_context_default_params
    monkeypatch.setattr(function, "restype", Longer)
    assert binding.check_layout(loaded) == "llama_context_params"


def test_loading_twice_loads_once():
    assert library.load() is library.load()


def test_a_second_build_in_one_process_is_refused(tmp_path: Path):
    library.load()
    with pytest.raises(LlamaLibraryError, match="already loaded"):
        library.load(tmp_path)


def test_the_stop_test_reads_one_byte():
    flag = (ctypes.c_int8 * 2)(0, 0)
    test = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(library.stop_test())
    assert not test(ctypes.addressof(flag))
    flag[0] = 1
    assert test(ctypes.addressof(flag))
