"""The structs and functions of llama.cpp that Parley calls, as `llama.h` of `RELEASES` has them.

Struct layouts change between releases without a warning, and a wrong one is memory corruption, not
an error. So the binding is for the releases whose headers were compared, `library` refuses every
other, and `check_layout` reads defaults back through the structs before anything is built on them.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CDLL,
    POINTER,
    PyDLL,
    Structure,
    c_bool,
    c_char_p,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_size_t,
    c_uint32,
    c_void_p,
)
from typing import Any, ClassVar

RELEASES = ("v0.5.0", "v0.4.0")
"""The releases of llama.cpp whose headers this file follows, the newest first."""

MAX_THREADS = 512
"""GGML_MAX_N_THREADS: the length of a thread pool's processor mask."""

DEVICE_TYPE_CPU = 0
"""GGML_BACKEND_DEVICE_TYPE_CPU."""

LOAD_INTO_MEMORY = 0
"""LLAMA_LOAD_MODE_NONE."""

FLASH_ATTENTION_AUTO = -1
KV_TYPE_F16 = 1

LogCallback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
"""void (*)(enum ggml_log_level level, const char * text, void * user_data)."""

Fields = list[tuple[str, Any]]


class ModelParams(Structure):
    """struct llama_model_params."""

    _fields_: ClassVar[Fields] = [
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    ]


class ContextParams(Structure):
    """struct llama_context_params."""

    _fields_: ClassVar[Fields] = [
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
        ("flash_attn_type", c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    ]


class Batch(Structure):
    """struct llama_batch."""

    _fields_: ClassVar[Fields] = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


class ChatMessage(Structure):
    """struct llama_chat_message."""

    _fields_: ClassVar[Fields] = [("role", c_char_p), ("content", c_char_p)]


class ThreadpoolParams(Structure):
    """struct ggml_threadpool_params."""

    _fields_: ClassVar[Fields] = [
        ("cpumask", c_bool * MAX_THREADS),
        ("n_threads", c_int),
        ("prio", c_int),
        ("poll", c_uint32),
        ("strict_cpu", c_bool),
        ("paused", c_bool),
    ]


# name: (result, arguments). A handle (model, context, vocab, memory, device, …) is a void pointer.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ggml_backend_load_all_from_path": (None, (c_char_p,)),
    "ggml_backend_dev_by_type": (c_void_p, (c_int,)),
    "ggml_backend_dev_backend_reg": (c_void_p, (c_void_p,)),
    "ggml_backend_reg_get_proc_address": (c_void_p, (c_void_p, c_char_p)),
    "ggml_threadpool_params_default": (ThreadpoolParams, (c_int,)),
    "llama_backend_init": (None, ()),
    "llama_version": (c_char_p, ()),
    "llama_log_set": (None, (c_void_p, c_void_p)),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_chat_template": (c_char_p, (c_void_p, c_char_p)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_free": (None, (c_void_p,)),
    "llama_n_ctx": (c_uint32, (c_void_p,)),
    "llama_attach_threadpool": (None, (c_void_p, c_void_p, c_void_p)),
    "llama_detach_threadpool": (None, (c_void_p,)),
    "llama_set_n_threads": (None, (c_void_p, c_int32, c_int32)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_memory_seq_cp": (None, (c_void_p, c_int32, c_int32, c_int32, c_int32)),
    "llama_memory_seq_pos_max": (c_int32, (c_void_p, c_int32)),
    "llama_state_seq_save_file": (
        c_size_t,
        (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_size_t),
    ),
    "llama_state_seq_load_file": (
        c_size_t,
        (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_size_t, POINTER(c_size_t)),
    ),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits_ith": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_vocab_bos": (c_int32, (c_void_p,)),
    "llama_tokenize": (
        c_int32,
        (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool),
    ),
    "llama_token_to_piece": (
        c_int32,
        (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool),
    ),
    "llama_chat_apply_template": (
        c_int32,
        (c_char_p, POINTER(ChatMessage), c_size_t, c_bool, c_char_p, c_int32),
    ),
}


# A call gives up the interpreter's lock, and gets it back only when another thread lets go of it:
# after up to 5 ms where that one computes. What takes microseconds keeps the lock.
_QUICK = frozenset(
    (
        "llama_get_logits_ith",
        "llama_memory_seq_cp",
        "llama_memory_seq_pos_max",
        "llama_memory_seq_rm",
        "llama_set_n_threads",
        "llama_token_to_piece",
        "llama_tokenize",
        "llama_vocab_is_eog",
    )
)


def declare(library: CDLL, path: str) -> None:
    """Give every function its types. Raises ``AttributeError`` naming a function that is missing.

    Functions of the libraries that this one needs are found through it.
    """
    keeping_lock = PyDLL(path)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(keeping_lock if name in _QUICK else library, name)
        function.restype = result
        function.argtypes = arguments
        setattr(library, name, function)


def check_layout(library: CDLL) -> str | None:
    """Read documented defaults back; return what does not fit, None when everything does.

    The values are spread over each struct: one field more or less anywhere moves some of them.
    """
    model = library.llama_model_default_params()
    context = library.llama_context_default_params()
    threads = library.ggml_threadpool_params_default(3)
    found = {
        "llama_model_params": (model.n_gpu_layers, model.split_mode, model.use_extra_bufts),
        "llama_context_params": (
            (context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max),
            (context.attention_type, context.flash_attn_type, context.yarn_ext_factor),
            (context.type_k, context.type_v, context.embeddings, context.offload_kqv),
            (context.no_perf, context.swa_full, context.kv_unified, context.n_samplers),
        ),
        "ggml_threadpool_params": (threads.n_threads, threads.poll, threads.paused),
    }
    wanted = {
        "llama_model_params": (-1, 1, True),
        "llama_context_params": (
            (512, 2048, 512, 1),
            (-1, FLASH_ATTENTION_AUTO, -1.0),
            (KV_TYPE_F16, KV_TYPE_F16, False, True),
            (True, True, False, 0),
        ),
        "ggml_threadpool_params": (3, 50, False),
    }
    return next((name for name, values in wanted.items() if found[name] != values), None)
