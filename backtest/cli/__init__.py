"""`python -m backtest`."""
