"""Load on one URL: as fast as answers come, at a constant arrival rate, or by callers who keep every answer."""
