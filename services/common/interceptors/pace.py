"""How fast calls may come: of one user, and of one address.

It holds for clients on other machines, as the gateway tells of them. A caller on this machine and a
service of Parley's own come without an address, and are not held up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from services.common.clock import Clock
from services.common.errors import ResourceExhausted
from services.common.limits import Limits
from services.common.rates import Rates

CLIENT_ADDRESS_KEY = "x-parley-client-address"
# As many calls may come at once as in this time: a page that opens, a client after a break.
_BURST_SECONDS = 5.0
# One subscriber has at least this much of IPv6 (RFC 6177).
_IPV6_PREFIX = 64


class Pace:
    """Counts calls; see `services.common.limits` for how many may come. Off, it admits all."""

    def __init__(self, limits: Limits, clock: Clock, *, on: bool = True) -> None:
        self._clock = clock
        self._on = on
        self._addresses = _rates(limits.calls_per_address_per_second)
        self._users = _rates(limits.calls_per_user_per_second)

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
    far as one subscriber has them.
    """
    value = metadata.get(CLIENT_ADDRESS_KEY)
    return _known_as(str(value)) if value else None


@lru_cache(maxsize=4096)
def _known_as(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        # No address at all: whoever comes around the gateway shares one bucket.
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))


def _rates(per_second: float) -> Rates:
    return Rates(per_second, per_second * _BURST_SECONDS)
