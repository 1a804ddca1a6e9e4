"""The Parley services: one process each, sharing only `services.common`."""
