"""Parley's terminal client and the client library behind it."""

__version__ = "0.1.0"
