"""Every measurement by its name."""

from collections.abc import Callable, Mapping

from lab.benchmarks.scale import (
    backlog,
    batches,
    memory,
    prediction_log,
    products,
    shipping,
    swaps,
    tick,
    versions,
    workers,
)
from lab.benchmarks.scale.finding import Finding
from lab.benchmarks.scale.room import Room

MEASUREMENTS: Mapping[str, Callable[[Room], Finding]] = {
    "workers": workers.measure,
    "products": products.measure,
    "shipping": shipping.measure,
    "backlog": backlog.measure,
    "tick": tick.measure,
    "versions": versions.measure,
    "prediction_log": prediction_log.measure,
    "batches": batches.measure,
    "swaps": swaps.measure,
    "memory": memory.measure,
}
