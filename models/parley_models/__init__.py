"""The models Parley runs on: what they are, where they come from, how they get here intact.

    from parley_models import ModelStore, Role, default_models_dir

    store = ModelStore(default_models_dir())
    preset = store.require("default")               # ModelMissingError names the command to run
    folder = store.path(preset.roles[Role.VAD])

Importing this loads no model and opens no connection.
"""

from parley_models.errors import LibraryMissingError, ModelMissingError, ModelsError
from parley_models.manifest import (
    Kind,
    Manifest,
    Model,
    Preset,
    Role,
    load_manifest,
)
from parley_models.store import ModelStore, State, default_models_dir

__all__ = [
    "Kind",
    "LibraryMissingError",
    "Manifest",
    "Model",
    "ModelMissingError",
    "ModelStore",
    "ModelsError",
    "Preset",
    "Role",
    "State",
    "default_models_dir",
    "load_manifest",
]
