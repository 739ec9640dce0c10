"""`python -m registry`: the commands and what they print."""
