"""Far more concurrent requests than the service admits, and how the admitted ones fare."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.faults.deployment import Deployment
from lab.faults.scenario import MIN_ANSWERED_SHARE, Scenario, ScenarioRun, require_wrk
from lab.faults.traffic import target_of
from lab.load.closed_loop import ClosedLoop
from lab.product import Service, workers_setting

# What a worker admits at once, at the default of MAX_CONCURRENCY; the excess load has twice as many connections.
ADMITTED = 256
MAX_P99_SECONDS = 0.1
PER_SECOND = 100.0
EXCESS_SECONDS = 600.0  # longer than any run: it is stopped
# One worker leaves a core for the load where there are two, so that they do not compete for it. Cached answers would
# be no load.
SETTINGS = workers_setting(1) | {"CACHE_MAX_ITEMS": "0"}


def overload(run: ScenarioRun) -> None:
    """Overload for a minute; when it ends, the first request is answered."""
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service(settings=SETTINGS)
        with run.load(deployment, service.port, per_second=PER_SECOND):
            run.wait(2.0, "load")
            run.expect_no_refusal()
            first = len(run.ledger.seconds)
            with _excess_load(run, deployment, service):
                run.wait(run.length(full=60, quick=8), "twice the limit")
            accepted = run.ledger.seconds[first:]
            refused = dict(run.ledger.refused)
            rejected = service.metric("sira_http_requests_total", 'status="429"')
            run.wait(1.0, "load")
            before, refused_before = run.answered(), run.ledger.refused.total()
            run.wait(3.0, "load")
            run.expect(
                run.answered() - before >= MIN_ANSWERED_SHARE * 3.0 * PER_SECOND, "it answers at once when it ends"
            )
            run.expect(run.ledger.refused.total() == refused_before, "it refuses nothing afterwards")
        run.settle(deployment)
        run.expect(rejected > 0, "the excess is rejected")
        run.expect(set(refused) <= {429, 503}, f"with 429 or 503: {refused}")
        p99 = statistics.quantiles(accepted, n=100)[98]
        run.expect(p99 < MAX_P99_SECONDS, f"p99 of the accepted is under 100 ms: {p99 * 1000:.0f} ms")
        run.note(f"{rejected:,.0f} rejected; p99 of the accepted {p99 * 1000:.0f} ms")


@contextmanager
def _excess_load(run: ScenarioRun, deployment: Deployment, service: Service) -> Iterator[None]:
    """Twice as many connections as are admitted, each of which sends again as soon as it is answered."""
    require_wrk()
    target = target_of(run, deployment, service.port, "excess-")
    with ClosedLoop(target, EXCESS_SECONDS, connections=2 * ADMITTED):
        time.sleep(1.0)
        yield


SCENARIOS = (Scenario("overload", "twice as many calls at once as are admitted", overload),)
