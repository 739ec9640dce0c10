"""`python -m canary`: the commands and what they print."""
