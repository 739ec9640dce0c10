"""Model versions: what each takes, what it may do, and how two differ."""
