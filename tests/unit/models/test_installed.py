"""The weights on this machine, where they are installed."""

import pytest

from parley_models import ModelStore, default_models_dir


@pytest.mark.models
def test_the_test_preset_is_as_the_manifest_says() -> None:
    store = ModelStore(default_models_dir())
    for name in store.require("test").model_names:
        assert [c.path for c in store.verify(name) if c.fault] == []
