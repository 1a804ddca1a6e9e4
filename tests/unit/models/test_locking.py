"""The lock between two fetches."""

import threading
from pathlib import Path

import pytest

from parley_models.locking import file_lock


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with file_lock(tmp_path / "l", waits.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with file_lock(tmp_path / "l"):
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), file_lock(tmp_path / "l"):
        raise ZeroDivisionError
    with file_lock(tmp_path / "l", lambda: pytest.fail("still locked")):
        pass
