"""The figures of the judge: each case is simulated, measured and compared with its limit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from canary.fuse import Fuse
from lab.benchmarks.canary.baselines import BASELINES
from lab.benchmarks.canary.recall import MISSES_MORE, SAME, days_to_rollback
from lab.benchmarks.canary.simulation import Progress, simulate
from lab.benchmarks.canary.split import Keys, first_holds
from lab.benchmarks.canary.traffic import Traffic, count_errors
from lab.benchmarks.scale.finding import Row

SEED = 20_261_123
_DAY = 24 * 3600


@dataclass(frozen=True)
class Size:
    """The extent of a simulation: replicas and seconds of the healthy cases, replicas of the failing ones, fuses."""

    healthy_replicas: int
    healthy_seconds: int
    failing_replicas: int
    fuses: int


FULL = Size(healthy_replicas=400, healthy_seconds=_DAY, failing_replicas=2000, fuses=400)
QUICK = Size(healthy_replicas=100, healthy_seconds=3600, failing_replicas=200, fuses=50)


@dataclass(frozen=True)
class Figure:
    """One measured figure, which must not exceed its limit."""

    case: str
    what: str
    measured: float
    limit: float

    @property
    def reached(self) -> bool:
        return self.measured <= self.limit


def rows(figures: Sequence[Figure]) -> list[Row]:
    """Return the figures as rows of a table."""
    return [
        {
            "case": one.case,
            "figure": one.what,
            "measured": _shortened(one.measured),
            "must not exceed": _shortened(one.limit),
            "": "reached" if one.reached else "missed",
        }
        for one in figures
    ]


def _shortened(value: float) -> float:
    """Return the value as a whole number if it is one, with four significant digits otherwise."""
    return int(value) if float(value).is_integer() else float(f"{value:.4g}")


@dataclass(frozen=True)
class Baseline:
    """Another method: the share of healthy canaries it rolls back, and the median seconds to twice the errors."""

    method: str
    false_rollbacks: float
    seconds: float


@dataclass(frozen=True)
class Case:
    name: str
    measure: Callable[[str, Size, Progress], list[Figure]]

    def run(self, size: Size, progress: Progress) -> list[Figure]:
        return self.measure(self.name, size, progress)


def _healthy(traffic: Traffic) -> Callable[[str, Size, Progress], list[Figure]]:
    def measure(case: str, size: Size, progress: Progress) -> list[Figure]:
        found = simulate(traffic, size.healthy_replicas, size.healthy_seconds, SEED, progress)
        hours = size.healthy_seconds / 3600
        what = f"% rolled back in {hours:g} h, of {size.healthy_replicas}"
        return [Figure(case, what, 100.0 * found.rolled_back / size.healthy_replicas, 1.0)]

    return measure


def _failing(
    traffic: Traffic, seconds: int, median: float, p95: float, requests: float | None = None
) -> Callable[[str, Size, Progress], list[Figure]]:
    """Limit the delay until rollback and the exposed canary requests; not within `seconds` counts as never."""

    def measure(case: str, size: Size, progress: Progress) -> list[Figure]:
        found = simulate(traffic, size.failing_replicas, seconds, SEED, progress)
        delays = np.where(np.isnan(found.rollback_seconds), np.inf, found.rollback_seconds)
        figures = [
            Figure(case, "seconds, median", float(np.median(delays)), median),
            Figure(case, "seconds, p95", float(np.percentile(delays, 95, method="higher")), p95),
        ]
        if requests is not None:
            figures.append(Figure(case, "canary requests, median", float(np.median(found.rollback_requests)), requests))
        return figures

    return measure


def _blocks_tripled(case: str, size: Size, progress: Progress) -> list[Figure]:
    """The canary blocks nine in ten of the events that production blocks, and twice as many others."""
    traffic = Traffic(paired=(0.009, 0.021, 0.001, 0.969))
    found = simulate(traffic, size.failing_replicas, 3600, SEED, progress)
    return [Figure(case, "paired events, median", float(np.median(found.rollback_requests)), 7700)]


def _fuse_opens(case: str, size: Size, progress: Progress) -> list[Figure]:
    fuse = Fuse()
    requests = 1
    while fuse.observe_canary(failed=True, now=0.0) is None:
        requests += 1
    progress(1.0)
    return [Figure(case, "requests per process", requests, 4)]


def _fuse_stays_closed(case: str, size: Size, progress: Progress) -> list[Figure]:
    """A canary at the limit of what the fuse tolerates: 5 % errors."""
    rng = np.random.default_rng(SEED)
    opened = 0
    for number in range(size.fuses):
        fuse = Fuse()
        for failed in (rng.random(20_000) < 0.05).tolist():
            fuse.observe_canary(failed, 0.0)
        opened += fuse.open
        progress((number + 1) / size.fuses)
    return [Figure(case, f"% opened, of {size.fuses}", 100.0 * opened / size.fuses, 1.0)]


def _go(case: str, size: Size, progress: Progress) -> list[Figure]:
    """Well before the 24 hours of the default plan's first step."""
    found = simulate(Traffic(), size.failing_replicas // 10, 3 * 3600, SEED, progress)
    delays = np.where(np.isnan(found.go_seconds), np.inf, found.go_seconds)
    return [Figure(case, "seconds, p95", float(np.percentile(delays, 95, method="higher")), 2 * 3600)]


def _no_go(case: str, size: Size, progress: Progress) -> list[Figure]:
    found = simulate(Traffic(errors=1.5), size.healthy_replicas, 3 * 3600, SEED, progress)
    return [Figure(case, "% ever let on in 3 h", 100.0 * found.let_go / size.healthy_replicas, 5.0)]


def _split_holds(traffic: Keys, limit: float) -> Callable[[str, Size, Progress], list[Figure]]:
    def measure(case: str, size: Size, progress: Progress) -> list[Figure]:
        first, _ = first_holds(traffic, size.healthy_replicas, size.healthy_seconds, SEED, progress)
        what = f"% held in {size.healthy_seconds / 3600:g} h, of {size.healthy_replicas}"
        return [Figure(case, what, 100.0 * float(np.isfinite(first).mean()), limit)]

    return measure


def _split_halved(case: str, size: Size, progress: Progress) -> list[Figure]:
    first, begun = first_holds(Keys(arrives=0.5), size.healthy_replicas, 3600, SEED, progress)
    return [
        Figure(case, "seconds to the hold, median", float(np.median(first)), 300),
        Figure(case, "holds of one rollout in an hour, most", float(begun.max()), 1),
    ]


def _recall_falls(case: str, size: Size, progress: Progress) -> list[Figure]:
    days = days_to_rollback(MISSES_MORE, size.healthy_replicas, 10, SEED, progress)
    p95 = float(np.percentile(days, 95, method="higher"))
    return [Figure(case, "days, median", float(np.median(days)), 3), Figure(case, "days, p95", p95, 5)]


def _recall_stays(case: str, size: Size, progress: Progress) -> list[Figure]:
    days = days_to_rollback(SAME, size.healthy_replicas, 20, SEED, progress)
    share = 100.0 * float(np.isfinite(days).mean())
    return [Figure(case, f"% rolled back in 20 days, of {size.healthy_replicas}", share, 1.0)]


CASES = (
    Case("healthy canary", _healthy(Traffic())),
    Case("allowed 1.2x errors", _healthy(Traffic(errors=1.2))),
    Case("bursty errors phi = 3, healthy", _healthy(Traffic(burst=2.0))),
    Case("errors 0.3 % -> 0.6 %", _failing(Traffic(errors=2.0), 7200, median=635, p95=1370)),
    Case("errors 0.3 % -> 1.5 %", _failing(Traffic(errors=5.0), 1800, median=50, p95=110, requests=1100)),
    Case("errors -> 100 %, one process", _fuse_opens),
    Case("errors -> 100 %, all processes", _failing(Traffic(errors=np.inf), 60, median=5, p95=5)),
    Case("fuse at 5 % errors, 20,000 requests", _fuse_stays_closed),
    Case("p95 x 1.35", _failing(Traffic(latency=1.35), 7200, median=585, p95=1230)),
    Case("p95 x 1.6", _failing(Traffic(latency=1.6), 600, median=15, p95=30)),
    Case("p95 x 2", _failing(Traffic(latency=2.0), 600, median=10, p95=15)),
    Case("paired block rate 1 % -> 3 %", _blocks_tripled),
    Case("split as set, 5,000 keys in runs of 4", _split_holds(Keys(), 1.0)),
    Case("split as set, 5,000 keys in runs of 20", _split_holds(Keys(run=20.0), 1.0)),
    # So few keys do not have the share that was set, and the rule says so: this bounds how often.
    Case("split as set, 500 keys in runs of 4", _split_holds(Keys(keys=500), 40.0)),
    Case("the canary gets half its share", _split_halved),
    Case("30 % more frauds missed, labels after 10 days", _recall_falls),
    Case("as many frauds missed, labels after 10 days", _recall_stays),
    Case("healthy canary earns its next step", _go),
    Case("errors 1.5x earn no next step", _no_go),
)


def run_baselines(size: Size) -> Iterator[Baseline]:
    """Apply the usual methods to a healthy canary, and to one that fails twice as often."""
    rng = np.random.default_rng(SEED)
    ticks = size.healthy_seconds // 5
    healthy = count_errors(Traffic(), size.healthy_replicas, ticks, rng)
    failing = count_errors(Traffic(errors=2.0), size.healthy_replicas, ticks, rng)
    for method, rolls_back in BASELINES.items():
        false = float(np.isfinite(rolls_back(*healthy)).mean())
        delays = rolls_back(*failing)
        yield Baseline(method, false, float(np.median(np.where(np.isnan(delays), np.inf, delays))))
