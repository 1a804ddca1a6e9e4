"""The user service: accounts, tokens, profiles and goals."""
