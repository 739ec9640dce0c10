"""Archiving, replaying and exporting the log: `python -m lab.benchmarks backtest`."""
