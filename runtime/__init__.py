"""Code that every process needs to start: settings, Postgres, SQL files, metrics, logs, authentication, commands."""
