"""The last hour of traffic in cells of 30 s, for every product. The caller owns the transaction."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from pathlib import Path

import msgspec

from canary.judge.evidence import latency_edge
from console.kept import KeptFacts
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

P95 = 0.95
CELL = timedelta(seconds=30)
# The newest cell may still be filled by shippers: it is drawn when it is complete.
CELLS = 120
RECENT_CELLS = 10
# About 200 bytes each: those of 800 products.
MAX_KEPT_CELLS = 100_000

# Reads the bins as numbers at once.
_HISTOGRAM = msgspec.json.Decoder(dict[int, int])

CellKey = tuple[str, datetime, int]
"""A product, the start of a cell, and its requests: a late request changes the latency, and makes it another cell."""

KeptSlowness = KeptFacts[CellKey, float | None]


@dataclass(slots=True)
class TrafficCell:
    """30 seconds of traffic from `start`; `p95`: of production's model scoring, in seconds."""

    start: datetime
    requests: int = 0
    errors: int = 0
    p95: float | None = None


@dataclass(slots=True)
class ProductTraffic:
    """The cells of a product by their start; `latency`: bin -> count of the recent ones, of production's scoring."""

    cells: dict[datetime, TrafficCell] = field(default_factory=dict)
    latency: Counter[int] = field(default_factory=Counter)

    @property
    def p95(self) -> float | None:
        """The p95 of the recent cells in seconds."""
        return quantile(self.latency, P95)

    def add(self, start: datetime, requests: int, errors: int) -> TrafficCell:
        cell = self.cells.setdefault(start, TrafficCell(start))
        cell.requests += requests
        cell.errors += errors
        return cell

    def course(self, now: datetime) -> list[TrafficCell]:
        """Return the complete cells of the last hour in order, those without traffic included."""
        first = cell_start(now) - CELLS * CELL
        starts = [first + place * CELL for place in range(CELLS)]
        return [self.cells.get(start) or TrafficCell(start) for start in starts]


def cell_start(at: datetime) -> datetime:
    """Return the start of the cell that a moment belongs to."""
    seconds = CELL.total_seconds()
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, at.tzinfo)


def read_traffic(connection: Connection, now: datetime, kept: KeptSlowness) -> Mapping[str, ProductTraffic]:
    """Read every cell's counts, but the histograms of those cells only that are recent or whose p95 is not kept."""
    values = {"now": now}
    found: dict[str, ProductTraffic] = {}
    cells: dict[CellKey, TrafficCell] = {}
    for product, start, requests, errors in connection.execute(QUERIES["last_hour"], values):
        cells[product, start, requests] = found.setdefault(product, ProductTraffic()).add(start, requests, errors)
    recent = cell_start(now) - RECENT_CELLS * CELL
    known = kept.known(cells)
    histograms = _histograms(connection, [key for key in cells if key[1] >= recent or key not in known])
    computed = {key: quantile(histogram, P95) for key, histogram in histograms.items()}
    kept.keep(computed)
    for key, cell in cells.items():
        cell.p95 = computed[key] if key in computed else known[key]
    for (product, start, _), histogram in histograms.items():
        if start >= recent:
            found[product].latency.update(histogram)
    for product, start, requests, errors in connection.execute(QUERIES["canary_last_hour"], values):
        found.setdefault(product, ProductTraffic()).add(start, requests, errors)
    return found


def _histograms(connection: Connection, keys: Sequence[CellKey]) -> dict[CellKey, Mapping[int, int]]:
    """Return the latency histogram of each cell."""
    values = {"products": [product for product, _, _ in keys], "starts": [start for _, start, _ in keys]}
    merged: dict[tuple[str, datetime], Counter[int]] = {}
    for product, start, latency in connection.execute(QUERIES["cell_latency"], values):
        merged.setdefault((product, start), Counter()).update(_HISTOGRAM.decode(latency))
    return {key: merged[key[:2]] for key in keys}


def quantile(histogram: Mapping[int, int], portion: float) -> float | None:
    """Return the upper edge of the bin that holds a quantile, in seconds; None without samples and above 10 s."""
    total, running = sum(histogram.values()), 0
    for bin_ in sorted(histogram):
        running += histogram[bin_]
        if running >= portion * total:
            edge = latency_edge(bin_)
            return edge if isfinite(edge) else None
    return None
