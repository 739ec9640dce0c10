"""How each part grows: one file a measurement, `python -m lab.benchmarks scale`."""
