"""Ordinary life for long: promotions, canaries and labels under load; nothing may grow, nothing may drift."""

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lab.faults.account import add_counted
from lab.faults.models import PRODUCT
from lab.faults.process import descriptors, resident_mib
from lab.faults.service import Service, ask
from lab.faults.stand import Stand
from lab.faults.traffic import half_load, shipped
from lab.faults.trial import Scenario, Trial

PER_SECOND = 200.0
RECOMPUTED_ONE_IN = 256  # of the traffic; of the callers' events, all
TURN_SECONDS = 10.0
LABELS = 200
# Caches fill and pools grow at first; what grows after that is a leak.
SETTLED_AFTER = 0.3
MOST_GROWTH = 0.05


@dataclass(frozen=True)
class Sample:
    """Of all processes of the service and the controller together."""

    mib: float
    descriptors: int


def lived(trial: Trial) -> None:
    seconds = trial.length(full=60 * trial.long_run_minutes, quick=60)
    samples: list[Sample] = []
    with trial.stand() as stand:
        controller = stand.control()
        service = stand.serve()
        with (
            trial.load(stand, service.port, per_second=PER_SECOND),
            half_load(trial, stand, service.port, seconds) as traffic,
        ):
            ending, started = time.monotonic() + seconds, time.monotonic()
            for turn in itertools.count():
                if time.monotonic() > ending:
                    break
                _take_turn(trial, stand, service, turn)
                pids = [*service.process.family(), controller.pid]
                samples.append(Sample(sum(map(resident_mib, pids)), sum(map(descriptors, pids))))
                trial.wait(TURN_SECONDS, f"{time.monotonic() - started:,.0f} of {seconds:,.0f} s")
        trial.settle(stand, one_in=RECOMPUTED_ONE_IN)
        trial.account = add_counted(trial.account, traffic.answered, shipped(traffic, stand))
        trial.ledger.sent += traffic.sent
        trial.expect_no_refusal()
        trial.expect(traffic.answered == traffic.sent, f"all is answered: {traffic.answered:,} of {traffic.sent:,}")
        trial.expect(trial.ledger.broken == 0, f"no connection broke: {trial.ledger.broken} did")
    trial.note(f"{traffic.rate:,.0f} requests/s, half of {traffic.limit:,.0f}; p99 {traffic.p99_seconds * 1e3:.0f} ms")
    _expect_flat(trial, samples)


def _take_turn(trial: Trial, stand: Stand, service: Service, turn: int) -> None:
    """A canary starts, gets more, and is stopped; then another version is promoted. And labels, every time."""
    match turn % 4:
        case 0:
            stand.start_canary(service, "2", 20.0)
        case 1:
            stand.order(service, "/v1/canary", {"product": PRODUCT, "canary_percent": 50})
        case 2:
            stand.order(service, f"/v1/canary/{PRODUCT}/stop", {})
        case 3:
            stand.promote(service, "3" if turn % 8 == 3 else "1")
    _label(trial, stand, service)


def _label(trial: Trial, stand: Stand, service: Service) -> None:
    at = datetime.now(UTC).isoformat()
    lately = list(itertools.islice(reversed(list(trial.ledger.answers.values())), LABELS))
    labels = [
        {"event_id": a.event_id, "product": PRODUCT, "label": "legitimate", "source": "review", "labelled_at": at}
        for a in lately
    ]
    if labels:
        answer = ask(f"{service.url}/v1/labels", stand.service_token, labels)
        trial.expect(answer.status == 200, f"labels are taken: {answer.status}")


def _expect_flat(trial: Trial, samples: Sequence[Sample]) -> None:
    """Medians of the first and last third of what came after the start."""
    settled = samples[int(len(samples) * SETTLED_AFTER) :]
    third = max(1, len(settled) // 3)
    for what, values in (
        ("MiB", [sample.mib for sample in settled]),
        ("descriptors", [sample.descriptors for sample in settled]),
    ):
        before, after = statistics.median(values[:third]), statistics.median(values[-third:])
        trial.expect(after <= before * (1 + MOST_GROWTH), f"{what} stay flat: {before:.0f} to {after:.0f}")
        trial.note(f"{before:,.0f} to {after:,.0f} {what}")


SCENARIOS = (Scenario("long-run", "nothing but promotions, canaries and labels", lived),)
