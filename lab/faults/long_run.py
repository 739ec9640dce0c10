"""An hour of ordinary operation: promotions, canaries and labels under load, during which nothing may grow."""

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lab import procfs
from lab.faults.deployment import Deployment
from lab.faults.models import PRODUCT
from lab.faults.reconciliation import add_counted
from lab.faults.scenario import Scenario, ScenarioRun
from lab.faults.traffic import count_shipped, half_load
from lab.http import ask
from lab.product import Service

PER_SECOND = 200.0
RECOMPUTED_ONE_IN = 256  # of the traffic; of the callers' events, all
STEP_SECONDS = 10.0
LABELS = 200
# Caches fill and pools grow at first; growth after this share of the run is a leak.
SETTLED_AFTER = 0.3
MAX_GROWTH = 0.05


@dataclass(frozen=True)
class Sample:
    """Sums over all processes of the service and the controller."""

    mib: float
    descriptors: int


def run_for_long(run: ScenarioRun) -> None:
    seconds = run.length(full=60 * run.long_run_minutes, quick=60)
    samples: list[Sample] = []
    with run.deployment() as deployment:
        controller = deployment.start_controller()
        service = deployment.start_service()
        with (
            run.load(deployment, service.port, per_second=PER_SECOND),
            half_load(run, deployment, service.port, seconds) as traffic,
        ):
            started = time.monotonic()
            for number in itertools.count():
                if time.monotonic() > started + seconds:
                    break
                _operate(run, deployment, service, number)
                pids = [*service.process.family(), controller.process.pid]
                samples.append(Sample(sum(map(procfs.resident_mib, pids)), sum(map(procfs.open_descriptors, pids))))
                run.wait(STEP_SECONDS, f"{time.monotonic() - started:,.0f} of {seconds:,.0f} s")
        run.settle(deployment, one_in=RECOMPUTED_ONE_IN)
        counted = count_shipped(traffic, deployment)
        run.reconciliation = add_counted(run.reconciliation, traffic.answered, counted)
        run.ledger.sent += traffic.sent
        run.expect_no_refusal()
        run.expect(
            traffic.answered == traffic.sent,
            f"every request is answered: {traffic.answered:,} of {traffic.sent:,}",
        )
        run.expect_no_broken_connection()
    run.note(f"{traffic.rate:,.0f} requests/s, half of {traffic.limit:,.0f}; p99 {traffic.p99_ms:.0f} ms")
    _expect_flat(run, samples)


def _operate(run: ScenarioRun, deployment: Deployment, service: Service, number: int) -> None:
    """Start a canary, raise it, stop it, then promote another version, in turn; and add labels each time."""
    match number % 4:
        case 0:
            deployment.start_canary(service, "2", 20.0)
        case 1:
            deployment.operate(service, "/v1/canary", {"product": PRODUCT, "canary_percent": 50})
        case 2:
            deployment.operate(service, f"/v1/canary/{PRODUCT}/stop", {})
        case 3:
            deployment.promote(service, "3" if number % 8 == 3 else "1")
    _label(run, deployment, service)


def _label(run: ScenarioRun, deployment: Deployment, service: Service) -> None:
    at = datetime.now(UTC).isoformat()
    newest = list(itertools.islice(reversed(list(run.ledger.answers.values())), LABELS))
    labels = [
        {"event_id": a.event_id, "product": PRODUCT, "label": "legitimate", "source": "review", "labelled_at": at}
        for a in newest
    ]
    if labels:
        answer = ask(f"{service.url}/v1/labels", deployment.service_token, labels)
        run.expect(answer.status == 200, f"labels are accepted: {answer.status}")


def _expect_flat(run: ScenarioRun, samples: Sequence[Sample]) -> None:
    """Compare the medians of the first and the last third of the samples after the start."""
    settled = samples[int(len(samples) * SETTLED_AFTER) :]
    third = max(1, len(settled) // 3)
    for unit, values in (
        ("MiB", [sample.mib for sample in settled]),
        ("descriptors", [sample.descriptors for sample in settled]),
    ):
        before, after = statistics.median(values[:third]), statistics.median(values[-third:])
        run.expect(after <= before * (1 + MAX_GROWTH), f"{unit} stay flat: {before:.0f} to {after:.0f}")
        run.note(f"{before:,.0f} to {after:,.0f} {unit}")


SCENARIOS = (Scenario("long-run", "nothing but promotions, canaries and labels", run_for_long),)
