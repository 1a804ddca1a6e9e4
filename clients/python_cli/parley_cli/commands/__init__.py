"""The commands, one module a topic. Each parses, calls, and prints."""
