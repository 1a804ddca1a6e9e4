"""What the history service is joined to: its tables, its search index, the media service."""
