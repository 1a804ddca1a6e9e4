"""Whether a file is one whole file of its kind, from its first byte to its last.

Decoders are made to play what they can: a file that is cut, or has another behind it, or says of
itself what cannot be. What is kept for years should not begin like that, so the outer structure is
read here, in plain Python, before a decoder sees the file: every length must lead to the next part
and the last to the end. Nothing is read into memory but what is looked at.

Where a format has a way to say "until the end" (a recorder that could not go back to its header),
it is taken at that.
"""
