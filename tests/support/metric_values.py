"""What this process has counted, as Prometheus would read it."""

from prometheus_client import REGISTRY


def counted(name: str, **labels: str) -> float:
    """Return a series' value, 0 for one that does not exist yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
