"""How fast calls may come of one user and of one address, and how many of a user may go on.

It holds for clients on other machines, as the gateway tells of them. A caller on this machine and a
service of Parley's own come without an address, and are not held up; but a proxy on this machine
brings others' calls, and those have one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from services.common.clock import Clock
from services.common.errors import ResourceExhausted
from services.common.limits import Limits
from services.common.rates import MakeRates, Rates, own_rates
from services.common.tallies import Tallies

CLIENT_ADDRESS_KEY = "x-parley-client-address"
# What the gateway says behind an address where it was told of proxies in front of it.
_PROXIED = " behind a proxy"
# The gateway adds whom it was called by: before that stands what a proxy said, or a client.
_FORWARDED_KEY = "x-forwarded-for"
# Others that proxies set; clients do not.
_PROXY_KEYS = ("forwarded", "via", "x-real-ip")
ADDRESS_KEYS = (CLIENT_ADDRESS_KEY, _FORWARDED_KEY, *_PROXY_KEYS)
"""What `address_in` reads; several values of one name stand with commas between them."""

# When one of them may have ended.
_RETRY_SECONDS = 1.0
# One subscriber has at least this much of IPv6 (RFC 6177).
_IPV6_PREFIX = 64


class Pace:
    """Counts calls; see `services.common.limits` for how many may come. Off, it admits all."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        *,
        on: bool = True,
        make_rates: MakeRates = own_rates,
    ) -> None:
        self._clock = clock
        self._on = on
        burst_seconds = limits.call_burst_seconds
        by_address, by_user = limits.calls_per_address_per_second, limits.calls_per_user_per_second
        self._addresses = make_rates("addresses", by_address, by_address * burst_seconds)
        self._users = make_rates("users", by_user, by_user * burst_seconds)
        self._most_of_user = limits.concurrent_calls_per_user
        self._in_progress = Tallies()

    def admit_address(self, address: str) -> None:
        """Count a call from `address`.

        Raises:
            ResourceExhausted: CALLS_TOO_FAST.
        """
        self._admit(self._addresses, address, "this address")

    def admit_user(self, user_id: str) -> None:
        """Count a call of `user_id`'s.

        Raises:
            ResourceExhausted: CALLS_TOO_FAST.
        """
        self._admit(self._users, user_id, "this account")

    def begin(self, user_id: str) -> None:
        """Count a call of `user_id`'s that goes on; `end` must follow when it has ended.

        Raises:
            ResourceExhausted: CALLS_TOO_FAST, or TOO_MANY_CALLS; then it does not go on.
        """
        self.admit_user(user_id)
        if self._on and self._in_progress.of(user_id) >= self._most_of_user:
            raise ResourceExhausted(
                "As many calls of this account are in progress as may be.",
                reason="TOO_MANY_CALLS",
                retry_after=_RETRY_SECONDS,
            )
        self._in_progress.add(user_id)

    def end(self, user_id: str) -> None:
        """Count it out."""
        self._in_progress.remove(user_id)

    def _admit(self, rates: Rates, key: str, whose: str) -> None:
        if not self._on:
            return
        wait = rates.take(key, self._clock.monotonic())
        if wait:
            raise ResourceExhausted(
                f"Calls of {whose} come faster than is allowed.",
                reason="CALLS_TOO_FAST",
                retry_after=wait,
            )


def address_in(metadata: Mapping[str, str | bytes]) -> str | None:
    """Return the address of the client that the gateway was called by; None for this machine's.

    The gateway overwrites whatever a client says of itself. IPv6 addresses are taken together as
    far as one subscriber has them. Where a proxy is seen, this machine is an address like any
    other: all who come through a proxy that the gateway was not told of share it.
    """
    value = metadata.get(CLIENT_ADDRESS_KEY)
    if not value:
        return None
    known = _known_as(str(value))
    if known is None and _came_through_a_proxy(metadata):
        return str(value)
    return known


def _came_through_a_proxy(metadata: Mapping[str, str | bytes]) -> bool:
    return "," in str(metadata.get(_FORWARDED_KEY, "")) or any(
        metadata.get(each) for each in _PROXY_KEYS
    )


@lru_cache(maxsize=4096)
def _known_as(said: str) -> str | None:
    text = said.removesuffix(_PROXIED)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        # No address at all: whoever comes around the gateway shares one bucket.
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None if text == said else str(address)
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
