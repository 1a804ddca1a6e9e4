"""How this service opens ONNX models."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort


def open_session(path: Path) -> ort.InferenceSession:
    """Open a model for one core: a single thread, and no spinning while there is nothing to do.

    Several models share few cores here: a thread that spins takes its core from the model that has
    something to do.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Errors only: the models' exporters leave warnings that say nothing to us.
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
