"""The controller's job: count what is new, and publish the figures of each product's production version as metrics."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from prometheus_client import Gauge

from monitoring.cohorts import store
from monitoring.cohorts.counter import CohortCounter
from monitoring.cohorts.performance import CohortPerformance, Performance, age_days
from monitoring.cohorts.reading import read_performance
from registry.model_version import ModelVersion, Status
from registry.store import serving_versions
from runtime import metrics
from runtime.postgres import Connection

# Figures by week need not be newer than some minutes.
LOOKS_PER_PUBLISHING = 5


class Sample(NamedTuple):
    gauge: Gauge
    labels: tuple[str, ...]
    value: float


class CohortJob:
    """One per controller. Any number may run: one counts, and all publish what is stored."""

    def __init__(self, maturity_days: float) -> None:
        self._counter = CohortCounter()
        self._maturity_days = maturity_days
        self._looks = 0
        self._shown: set[tuple[Gauge, tuple[str, ...]]] = set()

    def look(self, connection: Connection) -> int:
        """Count, and publish at every LOOKS_PER_PUBLISHING-th look; return how many hours and labels were counted."""
        counted = self._counter.look(connection)
        if self._looks % LOOKS_PER_PUBLISHING == 0 and store.cohorts_exist(connection):
            self._publish(connection)
        self._looks += 1
        return counted

    def _publish(self, connection: Connection) -> None:
        now = datetime.now(UTC)
        samples: list[Sample] = []
        for version in serving_versions(connection):
            if version.status is Status.PRODUCTION:
                found = read_performance(connection, version, maturity_days=self._maturity_days)
                samples += _samples(version, found, now) if found else ()
        for sample in samples:
            sample.gauge.labels(*sample.labels).set(sample.value)
        shown = {(sample.gauge, sample.labels) for sample in samples}
        for gauge, labels in self._shown - shown:
            gauge.remove(*labels)
        self._shown = shown


def _samples(version: ModelVersion, found: Performance, now: datetime) -> Iterator[Sample]:
    """Yield what is known of the production version; a figure that does not exist yet has no sample."""
    own = [cohort for cohort in found.cohorts if cohort.model_id == version.model_id]
    labels = version.product, version.version
    matured = next((cohort for cohort in own if cohort.matured and cohort.labelled), None)
    whole = next((cohort for cohort in own if age_days(cohort.week, now) >= 0), None)
    if matured is not None:
        yield Sample(metrics.cohort_label_share, labels, matured.labelled / matured.events)
        yield from _qualities(matured, labels, "observed")
    if whole is not None:
        yield from _qualities(whole, labels, "estimated")


def _qualities(cohort: CohortPerformance, labels: tuple[str, ...], kind: str) -> Iterator[Sample]:
    for threshold, quality in (("review", cohort.review), ("block", cohort.block)):
        figures = quality.observed if kind == "observed" else quality.estimated
        for gauge, estimate in ((metrics.cohort_recall, figures.recall), (metrics.cohort_precision, figures.precision)):
            if estimate.value is not None:
                yield Sample(gauge, (*labels, threshold, kind), estimate.value)
