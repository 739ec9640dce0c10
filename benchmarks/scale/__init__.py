"""How each part grows: one file a measurement, `python -m benchmarks scale`."""
