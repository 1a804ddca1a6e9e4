"""Slows down guessing, without locking anybody out.

Failures are counted three ways. At one name from one address: whoever guesses there waits. From one
address at all names: whoever tries one password on many. At one name from all addresses: whoever
has many of them; then only addresses wait from which nobody has signed in with the name. So nobody
can keep others out by failing at their names: they are let in from where they have been before, and
who is signed in needs no password.

A client on the gateway's own machine has no address (see `services.common.interceptors.pace`).
"""

from __future__ import annotations

from collections import OrderedDict

from services.common import call_context
from services.common.errors import ResourceExhausted
from services.common.rates import Rates

# A school behind one address mistypes more than a person does.
_ADDRESS_FACTOR = 10
# Few enough that guessing with many machines stays hopeless: 30 in five minutes by default.
_NAME_FACTOR = 3
# Names with the addresses they were signed in from; lost when the service restarts.
_FAMILIAR = 50_000
_HOUR_SECONDS = 3600.0
# Shorter waits would only make clients ask more often.
_LEAST_WAIT_SECONDS = 1.0


class Throttle:
    """Counts failed attempts to prove a password; they are forgotten evenly over the window.

    most: failures of one name at one address in `window_seconds`.
    """

    def __init__(self, most: int, window_seconds: float) -> None:
        per_second = most / window_seconds
        self._here = Rates(per_second, most)
        self._addresses = Rates(per_second * _ADDRESS_FACTOR, most * _ADDRESS_FACTOR)
        self._names = Rates(per_second * _NAME_FACTOR, most * _NAME_FACTOR)
        self._familiar: OrderedDict[tuple[str, str], None] = OrderedDict()

    def check(self, name: str, now: float) -> None:
        """Let one more attempt pass, from the address of the call. `now` is monotonic seconds.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, with the time to wait.
        """
        address = call_context.client_address()
        wait = self._here.wait((name, address), now)
        if address is not None:
            wait = max(wait, self._addresses.wait(address, now))
            if (name, address) not in self._familiar:
                wait = max(wait, self._names.wait(name, now))
        _refuse(wait, "Too many failed attempts.")

    def failed(self, name: str, now: float) -> None:
        """Count a failure."""
        address = call_context.client_address()
        self._here.count((name, address), now)
        if address is not None:
            self._addresses.count(address, now)
            if (name, address) not in self._familiar:
                self._names.count(name, now)

    def succeeded(self, name: str) -> None:
        """Forget the failures of `name` at this address, and remember the two together."""
        address = call_context.client_address()
        self._here.forget((name, address))
        if address is not None:
            self._familiar[name, address] = None
            self._familiar.move_to_end((name, address))
            if len(self._familiar) > _FAMILIAR:
                self._familiar.popitem(last=False)


class Registrations:
    """Counts attempts to make an account, `most` an hour from one address."""

    def __init__(self, most: int) -> None:
        self._rates = Rates(most / _HOUR_SECONDS, most)

    def admit(self, now: float) -> None:
        """Count an attempt from the address of the call. `now` is monotonic seconds.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, with the time to wait.
        """
        address = call_context.client_address()
        if address is not None:
            _refuse(self._rates.take(address, now), "Too many accounts are made from here.")


def _refuse(wait: float, why: str) -> None:
    if wait:
        raise ResourceExhausted(
            why, reason="TOO_MANY_ATTEMPTS", retry_after=max(_LEAST_WAIT_SECONDS, wait)
        )
