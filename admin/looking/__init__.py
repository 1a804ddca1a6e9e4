"""How each part of a Parley is, asked of the part itself."""
