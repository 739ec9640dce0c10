"""Production health: what the events of a product look like, and whether its decisions are as usual."""
