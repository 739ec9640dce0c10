"""A canary that passed every check and then fails: its callers never notice."""

import time

from lab.faults import log_store
from lab.faults.models import PRODUCT
from lab.faults.scenario import Scenario, ScenarioRun
from lab.http import ask
from lab.waiting import wait_until

CANARY_PERCENT = 50.0
ROLLBACK_SECONDS = 60.0


def throws(run: ScenarioRun) -> None:
    """The canary raises on a quarter of its events. Production answers them; the canary is rolled back."""
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service()
        with run.load(deployment, service.port):
            run.wait(2.0, "load")
            started = time.monotonic()
            deployment.start_canary(service, "throws", CANARY_PERCENT)
            url = f"{service.url}/v1/canary/{PRODUCT}"
            wait_until(lambda: ask(url).body["state"] == "rolled_back", ROLLBACK_SECONDS, "the canary is rolled back")
            seconds = time.monotonic() - started
            run.wait(2.0, "load")
        run.settle(deployment)
        run.expect_no_refusal()
        with deployment.owner() as connection:
            failed = log_store.count_canary_failures(connection)
        run.expect(failed > 0, "events of the canary fail")
        run.note(f"{failed} of its events failed and were answered; rolled back after {seconds:.1f} s")


SCENARIOS = (Scenario("canary-throws", "canary raises on a quarter of its events", throws),)
