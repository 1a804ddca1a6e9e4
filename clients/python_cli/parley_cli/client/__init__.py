"""Calling Parley: address, credentials, errors, calls, and the live stream."""
