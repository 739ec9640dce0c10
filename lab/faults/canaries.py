"""A canary that passed every check and then fails: its callers never know."""

import time

from lab.faults import log_store
from lab.faults.models import PRODUCT
from lab.faults.service import ask, wait_until
from lab.faults.trial import Scenario, Trial

CANARY_PERCENT = 50.0


def throws(trial: Trial) -> None:
    """It raises on about a third of its events. Production answers them, and the canary is rolled back."""
    with trial.stand() as stand:
        stand.control()
        service = stand.serve()
        with trial.load(stand, service.port):
            trial.wait(2.0, "load")
            started = time.monotonic()
            stand.start_canary(service, "throws", CANARY_PERCENT)
            shown = f"{service.url}/v1/canary/{PRODUCT}"
            wait_until(lambda: ask(shown).body["state"] == "rolled_back", 60.0, "the canary is rolled back")
            seconds = time.monotonic() - started
            trial.wait(2.0, "load")
        trial.settle(stand)
        trial.expect_no_refusal()
        with stand.owner() as connection:
            failed = log_store.count_canary_failures(connection)
        trial.expect(failed > 0, "events of the canary failed")
        trial.note(f"{failed} of its events failed and were answered; rolled back after {seconds:.1f} s")


SCENARIOS = (Scenario("canary-throws", "canary raises on a third of its events", throws),)
