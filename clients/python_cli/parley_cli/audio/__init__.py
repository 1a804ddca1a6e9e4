"""Sound: files in, a loudspeaker out, and the measures taken on both."""
