"""Leaves a provider alone for a while after it failed, so that nobody waits for the same failure.

One failure is enough: a learner has waited for it, and a passing one costs them only a few seconds
of the second choice. When the time is over, one call tries the provider again; while it does, the
others still go elsewhere. Time comes from the clock that is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.ai.capabilities import ProviderBusyError, ProviderError, ProviderRefusedError

# A second failure in a row doubles the time.
_FIRST_S = 5.0
# What is away for minutes is looked for once in two.
_LONGEST_S = 120.0
# Keys and accounts are mended by people.
_REFUSED_S = 60.0
_LONGEST_REFUSED_S = 900.0
# How long a trial may take before another call makes one: longer than any time limit on a reply's
# beginning that a host would set.
_TRIAL_S = 15.0


class Circuit:
    """Whether one provider is asked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self.why = ""
        """Why it is left alone: what failed last."""

    def admits(self) -> bool:
        """Return whether to ask the provider now. True is a promise to ask it."""
        if not self._failures:
            return True
        now = self._clock()
        if now < self._until:
            return False
        self._until = now + _TRIAL_S
        return True

    @property
    def is_closed(self) -> bool:
        """Whether the provider's last call went well, so that it is asked without a trial."""
        return not self._failures

    def succeeded(self) -> None:
        """Ask the provider from now on."""
        self._failures = 0
        self.why = ""

    def failed(self, error: ProviderError) -> float:
        """Leave the provider alone where ``error`` says so; return for how long, in seconds."""
        alone_s = self._alone_s(error)
        if alone_s:
            self._failures += 1
            self._until = self._clock() + alone_s
            self.why = str(error)
        return alone_s

    def _alone_s(self, error: ProviderError) -> float:
        doubled = 2.0 ** min(self._failures, 10)
        if isinstance(error, ProviderRefusedError):
            return min(_REFUSED_S * doubled, _LONGEST_REFUSED_S)
        if isinstance(error, ProviderBusyError) and error.retry_after_s is not None:
            return min(error.retry_after_s, _LONGEST_REFUSED_S)
        if error.retryable:
            return min(_FIRST_S * doubled, _LONGEST_S)
        # It was this call that the provider did not like: it may like the next one.
        return 0.0
