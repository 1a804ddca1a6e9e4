"""What the language model sees: versioned templates and the pure functions that fill them."""
