"""Backtests: what a version would have decided on the log, asked for and read."""
