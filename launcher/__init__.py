"""Parley on one machine: everything `make run` does once the packages are installed."""
