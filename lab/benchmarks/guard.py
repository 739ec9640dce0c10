"""`python -m lab.benchmarks.guard`: false alarms and delays of the decision guard, through its own code.

Traffic follows a weekly pattern with a lunch peak, shares differ from hour to hour and from day to day, and blocked
events come in bursts of 30 seconds (negative binomial, variance phi * mean).
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from canary.judge.sequential import FloatArray
from lab.benchmarks import documents, machine
from lab.benchmarks.canary.figures import Figure
from monitoring import guard
from monitoring.breaker.rule import DEFAULT_MAX_BLOCK_SHARE, SHARE_SECONDS
from monitoring.guard import BUCKET_SECONDS, CELL_BUCKETS, REFERENCE_DAYS, NormalShare

SEED = 20_261_126
REQUESTS_PER_SECOND = 200.0
BLOCK_SHARE = 0.01
_DAY_SECONDS = 86_400
_BUCKETS = _DAY_SECONDS // BUCKET_SECONDS
_HOUR = 3600 // BUCKET_SECONDS
# From an answer to a tripped breaker in every worker, besides the look itself: shipping and the notification.
_PROPAGATION_SECONDS = 2
# Shares that a wrong model blocks: just above the breaker's limit, more, and everything.
WRONG_SHARES = (0.06, 0.1, 0.3, 1.0)
# The number that docs/operations.md promises for the defaults.
MAX_HARMED = 3000.0


@dataclass(frozen=True)
class Traffic:
    """`phi`: dispersion of blocks; `day_sigma`: standard deviation of the log share from day to day."""

    phi: float
    day_sigma: float


@dataclass(frozen=True)
class _Day:
    """Requests and blocks (buckets, products) of one day."""

    requests: FloatArray
    blocks: FloatArray


def simulate_day(
    day: int, products: int, traffic: Traffic, rng: np.random.Generator, *, jump: float = 1.0, from_bucket: int = 0
) -> _Day:
    """One day of all products; from a bucket on, the share is multiplied by `jump`."""
    seconds = np.arange(_BUCKETS) * float(BUCKET_SECONDS)
    hours = seconds / 3600.0
    weekend = day % 7 >= 5
    level = 0.25 + 0.75 * np.exp(-(((hours - 13) / 4) ** 2)) + 0.5 * np.exp(-(((hours - 20) / 2) ** 2))
    share = BLOCK_SHARE * (1 + 0.3 * np.cos((hours - 3) / 24 * 2 * np.pi)) * (1.15 if weekend else 1.0)
    share = share[:, None] * np.exp(rng.normal(0.0, traffic.day_sigma, products))
    share[from_bucket:] *= jump
    expected = REQUESTS_PER_SECOND * BUCKET_SECONDS * level * (0.7 if weekend else 1.0)
    requests = rng.poisson(np.repeat(expected[:, None], products, axis=1)).astype(np.float64)
    mean = requests * share
    if traffic.phi > 1.0:
        cells = mean.reshape(-1, CELL_BUCKETS, products).sum(axis=1)
        drawn = rng.gamma(np.maximum(cells, 1e-9) / (traffic.phi - 1.0), traffic.phi - 1.0)
        mean = mean * np.repeat(drawn / np.maximum(cells, 1e-9), CELL_BUCKETS, axis=0)
    return _Day(requests, np.minimum(rng.poisson(mean), requests).astype(np.float64))


class GuardTrial:
    """Products side by side, each with its own guard and its own last seven days."""

    def __init__(self, products: int) -> None:
        self._wealth = guard.quiet((products,))
        self._hours: list[tuple[FloatArray, FloatArray]] = []
        self._dispersion: NDArray[np.float64] = np.ones(products)

    def run(self, day: _Day) -> NDArray[np.bool_]:
        """Return whether the guard fires after each bucket of the day: (buckets, products)."""
        firing = [self._hour(day, hour) for hour in range(24)]
        by_hour = [counts.reshape(24, _HOUR, -1).sum(axis=1) for counts in (day.blocks, day.requests)]
        self._hours = [*self._hours, (by_hour[0], by_hour[1])][-REFERENCE_DAYS:]
        cells = [
            np.moveaxis(counts.reshape(24, _HOUR // CELL_BUCKETS, CELL_BUCKETS, -1).sum(axis=2), 2, 0)
            for counts in (day.blocks, day.requests)
        ]
        self._dispersion = guard.dispersion(cells[0], cells[1])
        return np.concatenate(firing)

    def _hour(self, day: _Day, hour: int) -> NDArray[np.bool_]:
        part = slice(hour * _HOUR, (hour + 1) * _HOUR)
        steps = guard.observe(self._wealth, day.blocks[part], day.requests[part], self._reference(hour))
        self._wealth = steps[-1]
        return guard.fires(steps)

    def _reference(self, hour: int) -> NormalShare:
        products = len(self._dispersion)
        if not self._hours:
            return NormalShare(np.full(products, np.nan), self._dispersion)
        around = [(hour - 1) % 24, hour, (hour + 1) % 24]
        blocks, requests = (
            np.moveaxis(np.stack([past[which][around] for past in self._hours]), 2, 0) for which in (0, 1)
        )
        return NormalShare(guard.highest_normal_rate(blocks, requests), self._dispersion)


def false_alarms(traffic: Traffic, products: int, days: int) -> float:
    """False alarms per product and year; a new one begins when the guard fires after it did not."""
    rng, trial = np.random.default_rng(SEED), GuardTrial(products)
    alarms, before = 0, np.zeros((1, products), dtype=bool)
    for day in track(range(days + REFERENCE_DAYS), description=f"healthy, phi {traffic.phi:g}", console=_ERRORS):
        firing = trial.run(simulate_day(day, products, traffic, rng))
        if day >= REFERENCE_DAYS:
            alarms += int((firing & ~np.concatenate([before, firing[:-1]])).sum())
        before = firing[-1:]
    return alarms * 365.0 / (products * days)


def delays(traffic: Traffic, products: int, hour: int, jump: float = 3.0) -> NDArray[np.float64]:
    """Seconds from the jump to the alarm, per product; infinite when it never came that day."""
    rng, trial = np.random.default_rng(SEED), GuardTrial(products)
    for day in range(REFERENCE_DAYS):
        trial.run(simulate_day(day, products, traffic, rng))
    first = hour * _HOUR
    firing = trial.run(simulate_day(REFERENCE_DAYS, products, traffic, rng, jump=jump, from_bucket=first))[first:]
    buckets = np.where(firing.any(axis=0), firing.argmax(axis=0) + 1.0, np.inf)
    return np.asarray(buckets * BUCKET_SECONDS, dtype=np.float64)


def harmed(traffic: Traffic, products: int, share: float, hour: int = 13) -> NDArray[np.float64]:
    """Events, per product, that a model blocks beyond the usual until the breaker is in effect; infinite if never.

    The model begins at the start of the hour, and a look comes at the end of each bucket.
    """
    rng, trial = np.random.default_rng(SEED), GuardTrial(products)
    for day in range(REFERENCE_DAYS):
        trial.run(simulate_day(day, products, traffic, rng))
    first = hour * _HOUR
    usual = simulate_day(REFERENCE_DAYS, products, traffic, rng)
    wrong = rng.binomial(usual.requests.astype(int), share).astype(np.float64)
    blocks = np.where(np.arange(_BUCKETS)[:, None] < first, usual.blocks, np.maximum(usual.blocks, wrong))
    firing = trial.run(_Day(usual.requests, blocks))
    looks = SHARE_SECONDS // BUCKET_SECONDS
    counted, requests = (np.cumsum(np.pad(counts, ((looks, 0), (0, 0))), axis=0) for counts in (blocks, usual.requests))
    last_minute = (counted[looks:] - counted[:-looks]) / np.maximum(requests[looks:] - requests[:-looks], 1.0)
    trips = (firing & (last_minute > DEFAULT_MAX_BLOCK_SHARE))[first:]
    more = np.maximum(blocks - usual.blocks, 0.0)[first:]
    at = trips.argmax(axis=0)
    until = np.take_along_axis(np.cumsum(more, axis=0), at[None], axis=0)[0]
    after = np.take_along_axis(more, np.minimum(at + 1, len(more) - 1)[None], axis=0)[0]
    return np.where(trips.any(axis=0), until + after * _PROPAGATION_SECONDS / BUCKET_SECONDS, np.inf)


def figures(*, quick: bool) -> Iterator[Figure]:
    """The figures, at the peak hour of 200 requests a second and 0.5 to 1.3 % of blocks."""
    products, days = (40, 20) if quick else (200, 150)
    for phi in (1.0, 3.0):
        traffic = Traffic(phi, 0.05)
        measured = false_alarms(traffic, products, days)
        yield Figure(f"healthy, phi {phi:g}", f"false alarms a year, {products} x {days} days", measured, 1.0)
        found = delays(traffic, products, hour=13)
        yield Figure(f"block share x 3, phi {phi:g}", "seconds, median", float(np.median(found)), 60.0)
        p95 = float(np.percentile(found, 95, method="higher"))
        yield Figure(f"block share x 3, phi {phi:g}", "seconds, p95", p95, 180.0)
        for share in WRONG_SHARES:
            most = float(harmed(traffic, products, share).max())
            case = f"a model blocks {share:.0%}, phi {phi:g}"
            yield Figure(case, f"customers harmed, most of {products}", most, MAX_HARMED)


_ERRORS = Console(stderr=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Simulate less, in a minute, and keep the stored figures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(quick: bool, as_json: bool) -> None:
    """Simulate production through the guard's own code: a quarter of an hour. Exit status 1 if a figure is missed."""
    found = list(figures(quick=quick))
    if not quick:
        section = {"figures": [asdict(figure) for figure in found], **machine.conditions("make bench-guard")}
        documents.store("guard", section)
    if as_json:
        click.echo(json.dumps([asdict(figure) | {"reached": figure.reached} for figure in found], indent=2))
    else:
        table = Table("case", "figure", "measured", "at most", "", box=box.SIMPLE)
        for figure in found:
            reached = "[green]reached[/]" if figure.reached else "[red]MISSED[/]"
            table.add_row(figure.case, figure.what, f"{figure.measured:.3g}", f"{figure.limit:g}", reached)
        Console().print(table)
    sys.exit(0 if all(figure.reached for figure in found) else 1)


if __name__ == "__main__":
    main()
