"""Pipecat, run beside Parley on the same models: its environment, its server, its client."""
