"""One model and its context in llama.cpp: tokens in, logits out.

Everything that touches the context (``decode``, ``logits``, the sequences) belongs to one thread.
The vocabulary (``tokenize``, ``piece``) and ``stop`` may be used from any.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_int8, c_int32, c_size_t, c_void_p
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.ai.adapters.llama_cpp import library as loading
from services.ai.adapters.llama_cpp.binding import (
    DEVICE_TYPE_CPU,
    LOAD_INTO_MEMORY,
    Batch,
    ChatMessage,
    ThreadpoolParams,
)
from services.ai.capabilities import ProviderError

Logits = npt.NDArray[np.float32]

# Idle threads sleep at once: polling for the next graph would take the cores from speech models.
_POLL = 0
_MAX_PIECE_BYTES = 512


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """``cells``: tokens that all sequences hold together; ``batch_tokens``: at most in a step."""

    model: Path
    sequences: int
    cells: int
    batch_tokens: int
    threads: int
    library: Path | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Tokens of one sequence in a step: ``tokens`` from position ``start`` on.

    ``wants_logits``: what may follow the last of them is asked for; ``also_after``: and what may
    follow the one of this index.
    """

    sequence: int
    start: int
    tokens: Sequence[int]
    wants_logits: bool
    also_after: int | None = None


class Outcome(Enum):
    """How a step ended. Only after ``DONE`` are its tokens in the cache."""

    DONE = 0
    FULL = 1
    STOPPED = 2
    FAILED = 3


class LlamaRuntime:
    """A loaded model with a cache that its sequences share.

    Raises ``LlamaLibraryError`` and ``ProviderError`` (not retryable) when it cannot load.
    """

    def __init__(self, settings: RuntimeSettings) -> None:
        self._lib = loading.load(settings.library)
        self.release: str = self._lib.llama_version().decode()
        self._stop = (c_int8 * 2)(0, 0)
        self._no_devices = (c_void_p * 1)(None)
        self._model: int | None = None
        self._context: int | None = None
        self._threadpool: int | None = None
        self._arrays = _BatchArrays(settings.batch_tokens)
        with loading.collected_errors(self._lib) as lines:
            try:
                self._open(settings)
            except _RefusedError as refused:
                self.close()
                reason = f": {lines[-1]}" if lines else ""
                raise ProviderError(f"{refused}{reason}", retryable=False) from None
        self._vocab = self._lib.llama_model_get_vocab(self._model)
        self._memory = self._lib.llama_get_memory(self._context)
        self.vocabulary_size: int = self._lib.llama_vocab_n_tokens(self._vocab)
        self._pieces: dict[int, bytes] = {}

    def _open(self, settings: RuntimeSettings) -> None:
        lib = self._lib
        model_params = lib.llama_model_default_params()
        # On the CPU alone: only there can a step be stopped between two operations.
        model_params.n_gpu_layers = 0
        model_params.devices = ctypes.addressof(self._no_devices)
        # Most weights are rearranged for the processor when they are loaded. Mapped, the file's own
        # copy of them would stay in memory as well: 1.93 GB instead of 1.34 with the 1.5B model.
        model_params.load_mode = LOAD_INTO_MEMORY
        self._model = lib.llama_model_load_from_file(str(settings.model).encode(), model_params)
        if not self._model:
            raise _RefusedError(f"llama.cpp cannot load {settings.model.name}")
        params = lib.llama_context_default_params()
        params.n_ctx = settings.cells
        params.n_batch = params.n_ubatch = settings.batch_tokens
        params.n_seq_max = settings.sequences
        # What follows a slice's last token, and one asked for besides.
        params.n_outputs_max = 2 * settings.sequences
        params.offload_kqv = params.op_offload = False
        params.n_threads = params.n_threads_batch = settings.threads
        # One pool of cells: a prefix that sequences share is held once, and a step with tokens of
        # several sequences is one pass over the weights.
        params.kv_unified = True
        params.abort_callback = loading.stop_test()
        params.abort_callback_data = ctypes.addressof(self._stop)
        self._context = lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise _RefusedError(f"llama.cpp cannot make a context for {settings.model.name}")
        self._threadpool = self._new_threadpool(settings.threads)
        lib.llama_attach_threadpool(self._context, self._threadpool, self._threadpool)

    def _new_threadpool(self, threads: int) -> int:
        params = self._lib.ggml_threadpool_params_default(threads)
        params.poll = _POLL
        make = self._cpu_function("ggml_threadpool_new", c_void_p, ctypes.POINTER(ThreadpoolParams))
        pool = make(ctypes.byref(params))
        if not pool:
            raise _RefusedError("llama.cpp cannot start its threads")
        return int(pool)

    def _cpu_function(self, name: str, result: object, *arguments: object) -> Callable[..., Any]:
        """Return a function of the CPU backend, which was loaded for this processor."""
        device = self._lib.ggml_backend_dev_by_type(DEVICE_TYPE_CPU)
        if not device:
            raise _RefusedError("none of llama.cpp's libggml-cpu-… runs on this processor")
        backend = self._lib.ggml_backend_dev_backend_reg(device)
        address = self._lib.ggml_backend_reg_get_proc_address(backend, name.encode())
        if not address:
            raise _RefusedError(f"llama.cpp's CPU backend has no {name}")
        return ctypes.CFUNCTYPE(result, *arguments)(address)  # type: ignore[arg-type]

    def close(self) -> None:
        """Free everything. No other call may run or follow. Idempotent."""
        if self._context:
            self._lib.llama_detach_threadpool(self._context)
            self._lib.llama_free(self._context)
            self._context = None
        if self._threadpool:
            self._cpu_function("ggml_threadpool_free", None, c_void_p)(self._threadpool)
            self._threadpool = None
        if self._model:
            self._lib.llama_model_free(self._model)
            self._model = None

    # --- vocabulary ---------------------------------------------------------------------------

    @property
    def first_tokens(self) -> tuple[int, ...]:
        """What every prompt of this model begins with: the mark of beginning, or nothing."""
        if self._lib.llama_vocab_get_add_bos(self._vocab):
            return (int(self._lib.llama_vocab_bos(self._vocab)),)
        return ()

    def tokenize(self, text: str, *, marks: bool) -> tuple[int, ...]:
        """Return the tokens of ``text``; with ``marks``, control tokens that it spells count."""
        data = text.encode()
        room = len(data) + 1  # no token is shorter than a byte; some vocabularies add a space
        tokens = (c_int32 * room)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), tokens, room, False, marks)
        if count < 0:
            raise ProviderError("llama.cpp cannot tokenize a text", retryable=False)
        return tuple(tokens[:count])

    def piece(self, token: int) -> bytes:
        """Return the bytes that ``token`` stands for; control tokens stand for none."""
        known = self._pieces.get(token)
        if known is None:
            buffer = ctypes.create_string_buffer(_MAX_PIECE_BYTES)
            size = self._lib.llama_token_to_piece(
                self._vocab, token, buffer, _MAX_PIECE_BYTES, 0, False
            )
            known = self._pieces[token] = buffer.raw[: max(0, size)]
        return known

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends what the model has to say."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def apply_template(self, messages: Sequence[tuple[str, str]], *, reply: bool) -> str:
        """Write (role, content) pairs in the model's own chat format; ``reply`` opens the answer.

        Raises ``ProviderError`` for a model whose format llama.cpp does not know.
        """
        template = self._lib.llama_model_chat_template(self._model, None)
        rows = (ChatMessage * len(messages))(
            *(ChatMessage(role.encode(), content.encode()) for role, content in messages)
        )
        room = 1024 + 2 * sum(len(role) + len(content.encode()) for role, content in messages)
        for _ in range(2):
            buffer = ctypes.create_string_buffer(room)
            size = self._lib.llama_chat_apply_template(
                template, rows, len(messages), reply, buffer, room
            )
            if 0 <= size <= room:
                return buffer.raw[:size].decode()
            room = size
        raise ProviderError("llama.cpp does not know this model's chat format", retryable=False)

    # --- context ------------------------------------------------------------------------------

    def decode(self, slices: Sequence[Slice]) -> Outcome:
        """Evaluate ``slices``, at most ``batch_tokens`` in all. Blocking."""
        batch = self._arrays.fill(slices)
        code = self._lib.llama_decode(self._context, batch)
        return {0: Outcome.DONE, 1: Outcome.FULL, 2: Outcome.STOPPED}.get(code, Outcome.FAILED)

    def use_threads(self, threads: int) -> None:
        """Run the steps from now on with ``threads``, at most as many as were loaded for."""
        self._lib.llama_set_n_threads(self._context, threads, threads)

    def logits(self, index: int) -> Logits:
        """Return a view of the logits after the ``index``-th token of the last step."""
        pointer = self._lib.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(pointer, shape=(self.vocabulary_size,))

    def stop(self) -> None:
        """Have the step that runs now end within milliseconds. From any thread."""
        self._stop[0] = 1

    def clear_stop(self) -> None:
        """Take back ``stop``, before the next step."""
        self._stop[0] = 0

    def forget(self, sequence: int, start: int) -> None:
        """Drop what ``sequence`` holds from position ``start`` on."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def copy(self, source: int, target: int, count: int) -> None:
        """Let ``target``, which is empty, share the first ``count`` positions of ``source``."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, count)

    def save(self, sequence: int, tokens: Sequence[int], path: Path) -> bool:
        """Write what ``sequence`` holds to a file; return whether that worked. Blocking."""
        array = (c_int32 * len(tokens))(*tokens)
        return bool(
            self._lib.llama_state_seq_save_file(
                self._context, str(path).encode(), sequence, array, len(tokens)
            )
        )

    def restore(self, sequence: int, capacity: int, path: Path) -> tuple[int, ...] | None:
        """Read a file into ``sequence``; return its tokens, None if it does not fit. Blocking."""
        array, count = (c_int32 * capacity)(), c_size_t(0)
        read = self._lib.llama_state_seq_load_file(
            self._context, str(path).encode(), sequence, array, capacity, ctypes.byref(count)
        )
        if not read:
            self.forget(sequence, 0)
            return None
        return tuple(array[: count.value])


class _RefusedError(Exception):
    """llama.cpp returned null; its log may know why."""


class _BatchArrays:
    """The memory of a batch, allocated once."""

    def __init__(self, capacity: int) -> None:
        self._token = (c_int32 * capacity)()
        self._position = (c_int32 * capacity)()
        self._logits = (c_int8 * capacity)()
        self._one = (c_int32 * capacity)(*([1] * capacity))
        self._ids = (c_int32 * capacity)()
        pointer = ctypes.POINTER(c_int32)
        size = ctypes.sizeof(c_int32)
        base = ctypes.addressof(self._ids)
        self._id_pointers = (pointer * capacity)(
            *(ctypes.cast(base + index * size, pointer) for index in range(capacity))
        )
        self._capacity = capacity

    def fill(self, slices: Sequence[Slice]) -> Batch:
        count = 0
        for piece in slices:
            end = count + len(piece.tokens)
            assert end <= self._capacity
            self._token[count:end] = list(piece.tokens)
            self._position[count:end] = list(range(piece.start, piece.start + len(piece.tokens)))
            self._ids[count:end] = [piece.sequence] * len(piece.tokens)
            self._logits[count:end] = [0] * len(piece.tokens)
            self._logits[end - 1] = piece.wants_logits
            if piece.also_after is not None:
                self._logits[count + piece.also_after] = True
            count = end
        return Batch(
            count, self._token, None, self._position, self._one, self._id_pointers, self._logits
        )
