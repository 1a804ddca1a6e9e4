"""Slows down guessing, without locking anybody out.

Failures are counted three ways. At one name from one address: whoever guesses there waits. From one
address at all names: whoever tries one password on many. At one name from all addresses: whoever
has many of them; then only addresses wait at which nobody has been signed in with the name. So
nobody can keep others out by failing at their names: they are let in where they have been before,
whether they came with the password, made the account or only had their session renewed. What is
asked of who is signed in already is counted by user alone, so nothing that happens at the door
hinders it.

An attempt counts as a failure from its beginning: a thousand at once find no more room than one
after another, and going away before the answer helps nobody. Success gives it back. Attempts are
counted besides whatever comes of them, since each costs the machine the same.

A client on the gateway's own machine has no address (see `services.common.interceptors.pace`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from services.common import call_context
from services.common.errors import ResourceExhausted
from services.common.limits import DEFAULT_LIMITS
from services.common.rates import MakeRates, Rates, own_rates

_ADDRESS_FACTOR = DEFAULT_LIMITS.login_address_factor
_NAME_FACTOR = DEFAULT_LIMITS.login_name_factor
# Attempts, failed or not.
_ATTEMPTS_FACTOR = DEFAULT_LIMITS.login_tries_factor
_ADDRESS_ATTEMPTS_FACTOR = DEFAULT_LIMITS.login_address_tries_factor
# Names with the addresses they were signed in at; lost when the service restarts.
_FAMILIAR = 50_000
_HOUR_SECONDS = 3600.0
# Shorter waits would only make clients ask more often.
_LEAST_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to prove a password that has begun.

    failures, attempts: where it was counted. name, address: None where somebody signed in tries.
    """

    failures: tuple[tuple[Rates, Hashable], ...]
    attempts: tuple[tuple[Rates, Hashable], ...]
    name: str | None
    address: str | None


class Throttle:
    """Counts attempts to prove a password; they are forgotten evenly over the window.

    most: failures of one name at one address in `window_seconds`.
    """

    def __init__(self, most: int, window_seconds: float, make_rates: MakeRates = own_rates) -> None:
        def rates(name: str, factor: int) -> Rates:
            return make_rates(f"password {name}", factor * most / window_seconds, factor * most)

        self._here = rates("failures here", 1)
        self._addresses = rates("failures by address", _ADDRESS_FACTOR)
        self._names = rates("failures by name", _NAME_FACTOR)
        self._signed_in = rates("failures signed in", 1)
        self._attempts = rates("tries here", _ATTEMPTS_FACTOR)
        self._address_attempts = rates("tries by address", _ADDRESS_ATTEMPTS_FACTOR)
        self._familiar: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, name: str, now: float) -> Attempt:
        """Count an attempt to sign in, from the address of the call. `now` is monotonic seconds.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, with the time to wait; it is not counted.
        """
        address = call_context.client_address()
        failures: list[tuple[Rates, Hashable]] = [(self._here, (name, address))]
        attempts: list[tuple[Rates, Hashable]] = []
        if address is not None:
            failures.append((self._addresses, address))
            if (name, address) not in self._familiar:
                failures.append((self._names, name))
            attempts += [
                (self._attempts, (name, address)),
                (self._address_attempts, address),
            ]
        return _counted(Attempt(tuple(failures), tuple(attempts), name, address), now)

    def begin_signed_in(self, user_id: str, now: float) -> Attempt:
        """Count an attempt of somebody signed in to prove their own password.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, with the time to wait; it is not counted.
        """
        failures = ((self._signed_in, user_id),)
        attempts = ((self._attempts, ("signed in", user_id)),)
        return _counted(Attempt(failures, attempts, None, None), now)

    def succeeded(self, attempt: Attempt, now: float) -> None:
        """Forget the failures of the name at this address, and remember the two together."""
        (here, key), *others = attempt.failures
        here.forget(key)
        for rates, each in others:
            rates.give_back(each, now)
        if attempt.name is not None and attempt.address is not None:
            self._remember(attempt.name, attempt.address)

    def seen(self, name: str) -> None:
        """Remember that who is `name` is signed in at the address of the call."""
        address = call_context.client_address()
        if address is not None:
            self._remember(name, address)

    def _remember(self, name: str, address: str) -> None:
        self._familiar[name, address] = None
        self._familiar.move_to_end((name, address))
        if len(self._familiar) > _FAMILIAR:
            self._familiar.popitem(last=False)

    def not_made(self, attempt: Attempt, now: float) -> None:
        """Take an attempt back that was begun, and at which no password was looked at."""
        for rates, key in (*attempt.failures, *attempt.attempts):
            rates.give_back(key, now)


class Registrations:
    """Counts attempts to make an account, `most` an hour from one address."""

    def __init__(self, most: int, make_rates: MakeRates = own_rates) -> None:
        self._rates = make_rates("registrations", most / _HOUR_SECONDS, most)

    def admit(self, now: float) -> None:
        """Count an attempt from the address of the call. `now` is monotonic seconds.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, with the time to wait.
        """
        address = call_context.client_address()
        if address is not None:
            _refuse(self._rates.take(address, now), "Too many accounts are made from here.")


def _counted(attempt: Attempt, now: float) -> Attempt:
    failing = max((rates.wait(key, now) for rates, key in attempt.failures), default=0.0)
    _refuse(failing, "Too many failed attempts.")
    trying = max((rates.wait(key, now) for rates, key in attempt.attempts), default=0.0)
    _refuse(trying, "Too many attempts.")
    for rates, key in (*attempt.failures, *attempt.attempts):
        rates.count(key, now)
    return attempt


def _refuse(wait: float, why: str) -> None:
    if wait:
        raise ResourceExhausted(
            why, reason="TOO_MANY_ATTEMPTS", retry_after=max(_LEAST_WAIT_SECONDS, wait)
        )
