"""Forward-only migrations: plain SQL files that psql runs as well, applied in the order of their numbers."""
