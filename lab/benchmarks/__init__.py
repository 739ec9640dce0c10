"""What the README's figures come from: one command each, see `python -m lab.benchmarks --help`."""
