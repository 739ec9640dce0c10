"""What a model version would have decided: the log replayed with it, off the serving processes."""
