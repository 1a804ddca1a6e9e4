"""The models of the chosen preset: there, or fetched before anything is started."""

from __future__ import annotations

from pathlib import Path

from launcher.errors import LauncherError
from parley_models import ModelsError, ModelStore
from parley_models.fetch import Fetcher
from parley_models.progress import reporter_for


def ensure(preset: str, models_dir: Path) -> None:
    """Fetch what the preset needs and is not there, with its progress shown.

    Its extras come with it. They are not fetched for themselves: who runs Parley with what is there
    has not asked for a download.

    Raises:
        LauncherError: there is no such preset, or it cannot be fetched; what arrived is kept.
    """
    store = ModelStore(models_dir)
    try:
        chosen = store.manifest.preset(preset)
        if not store.missing(chosen.model_names):
            return
        # Flushed: in a pipe it would otherwise come after the lines of the progress it announces,
        # which go to standard error.
        print(f"Fetching the models of the preset {preset!r} into {models_dir} (once):", flush=True)
        with reporter_for(quiet=False) as reporter:
            Fetcher(store, reporter).fetch(chosen.all_names)
    except ModelsError as error:
        raise LauncherError(str(error)) from error
