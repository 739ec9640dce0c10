"""The commands of `python -m monitoring`."""
