"""Providers: one file each, behind the protocols of ``services.ai.capabilities``."""
