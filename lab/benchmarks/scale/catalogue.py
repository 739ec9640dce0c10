"""Every measurement, by name."""

from collections.abc import Callable, Mapping

from lab.benchmarks.scale import (
    backlog,
    batches,
    cold_start,
    console,
    input_profile,
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
from lab.benchmarks.scale.workspace import Workspace

MEASUREMENTS: Mapping[str, Callable[[Workspace], Finding]] = {
    "workers": workers.measure,
    "products": products.measure,
    "shipping": shipping.measure,
    "backlog": backlog.measure,
    "tick": tick.measure,
    "input_profile": input_profile.measure,
    "versions": versions.measure,
    "prediction_log": prediction_log.measure,
    "console": console.measure,
    "batches": batches.measure,
    "cold_start": cold_start.measure,
    "swaps": swaps.measure,
    "memory": memory.measure,
}
