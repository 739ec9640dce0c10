"""Forward-only migrations: plain SQL files, which psql can run as well, applied in the order of their numbers."""
