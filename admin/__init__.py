"""What a host does with Parley's data: `parley admin`, on the machine that keeps it."""
