"""Holding a conversation: sources, loudspeakers, displays, and what joins them."""
