"""Is the canary good? Evidence in, verdict out: pure, and replayed bit for bit."""
