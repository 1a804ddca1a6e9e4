"""What the session's parts stand on: the engine, the other services, the database."""
