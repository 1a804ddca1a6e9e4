"""Who may call a method. Every method of a service has an entry; one without is denied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """One method's rule. Build it with `PUBLIC`, `USER`, `service(...)`, `user_or_service(...)`.

    public: anybody; a token that does come is not looked at.
    user: a learner with a valid access token.
    services: names of the Parley services that may call with their own identity.
    """

    public: bool = False
    user: bool = False
    services: frozenset[str] = frozenset()


PUBLIC = Access(public=True)
USER = Access(user=True)


def service(*names: str) -> Access:
    """Only these services, by their own identity. A user's token may come along as well."""
    return Access(services=frozenset(names))


def user_or_service(*names: str) -> Access:
    """A learner, or one of these services with or without the learner's token."""
    return Access(user=True, services=frozenset(names))


Policy = Mapping[str, Access]
"""Full method (`/parley.user.v1.UserService/Login`) to its rule."""
