"""`python -m archive`."""
