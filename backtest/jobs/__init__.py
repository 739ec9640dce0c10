"""Backtests that were asked for over HTTP: the table of them, and the process that runs them."""
