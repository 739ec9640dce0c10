"""How each part grows with size: one module per measurement, `python -m lab.benchmarks scale`."""
