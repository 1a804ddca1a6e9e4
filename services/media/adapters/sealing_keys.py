"""The keys that a host gives Parley to encrypt recordings with, and those that they wrap.

Every recording has a key of its own, which seals its objects and lies beside them, wrapped
(AES-256-GCM) by a key of the host's, whose name stands with it. To change the host's key, the small
wrapped ones are written anew; no recording is.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.media.adapters.sealed_chunks import KEY_BYTES

KEY_NAME = "key.json"
"""The name of a recording's wrapped key, beside its objects."""

_NONCE_BYTES = 12
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class UnknownKeyError(Exception):
    """A recording's key was wrapped by a key that is not among those of the settings."""


class WrongKeyError(Exception):
    """A wrapped key does not open: it was changed, or the host's key of that name is another."""


class BrokenKeyError(WrongKeyError):
    """What should be a wrapped key is none."""


def new_key(name: str) -> str:
    """Return a fresh key of the host's, as the settings take it."""
    return f"{name}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


@dataclass(frozen=True, slots=True)
class SealingKeys:
    """The host's keys by name, the first of which wraps; none: recordings are not encrypted."""

    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> SealingKeys:
        """Read `name:key,name:key`, each key 32 bytes in base64.

        Raises:
            ValueError: what is wrong, without the keys.
        """
        keys: dict[str, bytes] = {}
        for entry in filter(None, (each.strip() for each in text.split(","))):
            name, _, encoded = entry.partition(":")
            if not _NAME.fullmatch(name):
                raise ValueError("each key has a name of letters, digits, . _ -, and a colon")
            if name in keys:
                raise ValueError(f"two keys are named {name}")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                key = b""
            if len(key) != KEY_BYTES:
                raise ValueError(f"the key {name} is not {KEY_BYTES} bytes in base64")
            keys[name] = key
        return cls(keys)

    @property
    def current(self) -> str:
        """The name of the key that wraps; empty where there is none."""
        return next(iter(self.keys), "")

    def wrap(self, recording_key: bytes, recording: str) -> bytes:
        """Return a recording's key, to be kept beside it."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self.keys[self.current]).encrypt(nonce, recording_key, _about(recording))
        wrapped = base64.b64encode(nonce + sealed).decode()
        return json.dumps({"form": 1, "key": self.current, "wrapped": wrapped}).encode()

    def unwrap(self, kept: bytes, recording: str) -> bytes:
        """Return a recording's key from what was kept.

        Raises:
            UnknownKeyError: the settings have no key of that name.
            WrongKeyError: it does not open; a `BrokenKeyError`, by no key.
        """
        try:
            wrapped = base64.b64decode(json.loads(kept)["wrapped"])
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenKeyError("what should be a wrapped key is none") from error
        name = wrapped_by(kept)
        if name not in self.keys:
            raise UnknownKeyError(name)
        try:
            return AESGCM(self.keys[name]).decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _about(recording)
            )
        except (InvalidTag, ValueError) as error:
            raise WrongKeyError(f"the key {name} does not open it") from error


def wrapped_by(kept: bytes) -> str:
    """Return the name of the key that wrapped what was kept; empty where it is not readable."""
    try:
        return str(json.loads(kept)["key"])
    except (ValueError, KeyError, TypeError):
        return ""


def _about(recording: str) -> bytes:
    return f"parley recording key 1 {recording}".encode()
