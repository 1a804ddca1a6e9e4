"""Copies of everything that a Parley keeps, taken while it runs, and putting them back."""
