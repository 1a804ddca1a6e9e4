"""Engines: ways to hear a learner and answer, behind ``services.ai.engine.Engine``."""
