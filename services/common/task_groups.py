"""What a task group raises, as callers want it: the error itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unwrapped(kind: type[Exception]) -> Iterator[None]:
    """Raise the first `kind` of an exception group that holds nothing else, by itself.

    Any other exception passes as it is. (`raise` within `except*` would not do: what it raises
    comes wrapped in a group again, in some releases of Python 3.11 at least.)
    """
    try:
        yield
    except BaseExceptionGroup as group:
        matching, rest = group.split(kind)
        if matching is None or rest is not None:
            raise
        raise _first(matching) from group


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
