"""The measurements behind the README's figures, one command each: see `python -m lab.benchmarks --help`."""
