"""What every process needs to start: settings, Postgres, queries, metrics, logs, auth, the embedded default."""
