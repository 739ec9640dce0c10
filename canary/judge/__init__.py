"""Is the canary good? Evidence in, verdict out: pure, and reproducible to the last bit."""
