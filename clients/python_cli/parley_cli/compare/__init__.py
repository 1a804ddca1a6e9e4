"""`parley compare`: the same recordings through several engines, side by side."""
