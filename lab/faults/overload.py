"""Far more calls at once than the service admits, and how those fare that it takes."""

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.faults.models import PRODUCT
from lab.faults.service import Service
from lab.faults.stand import Stand
from lab.faults.trial import Scenario, Trial, require_wrk

# What a worker admits at once, at the default of MAX_CONCURRENCY; the crowd is twice that.
ADMITTED = 256
LONGEST_P99_SECONDS = 0.1
PER_SECOND = 100.0
# One worker leaves the crowd a core of its own where there are two: what is measured is not their fight over it.
# Cached answers are no load.
SETTINGS = {"BENTOML_CONFIG_OPTIONS": "services.sira_inference.workers=1", "CACHE_MAX_ITEMS": "0"}
_WRK = """
local bodies = {}
for line in io.lines("%(bodies)s") do bodies[#bodies + 1] = line end
local number = 0
wrk.headers["Authorization"] = "Bearer %(token)s"
request = function()
  number = number + 1
  return wrk.format("POST", "/v1/infer", nil, bodies[number %% #bodies + 1])
end
"""


def overloaded(trial: Trial) -> None:
    """For a minute; then the crowd is gone, and the first call after it is answered."""
    with trial.stand() as stand:
        stand.control()
        service = stand.serve(settings=SETTINGS)
        with trial.load(stand, service.port, per_second=PER_SECOND):
            trial.wait(2.0, "load")
            trial.expect_no_refusal()
            first = len(trial.ledger.seconds)
            with _crowd(trial, stand, service):
                trial.wait(trial.length(full=60, quick=8), "twice the limit")
            accepted = trial.ledger.seconds[first:]
            refused = dict(trial.ledger.refused)
            turned_away = service.metric("sira_http_requests_total", 'status="429"')
            trial.wait(1.0, "load")
            before, calm = trial.answered(), sum(trial.ledger.refused.values())
            trial.wait(3.0, "load")
            trial.expect(trial.answered() - before >= 0.9 * 3.0 * PER_SECOND, "it answers again at once")
            trial.expect(sum(trial.ledger.refused.values()) == calm, "it refuses nothing any more")
        trial.settle(stand)
        trial.expect(turned_away > 0, "the surplus is turned away")
        trial.expect(set(refused) <= {429, 503}, f"with 429 or 503: {refused}")
        p99 = statistics.quantiles(accepted, n=100)[98]
        trial.expect(p99 < LONGEST_P99_SECONDS, f"p99 of the accepted is under 100 ms: {p99 * 1000:.0f} ms")
        trial.note(f"{turned_away:,.0f} turned away; p99 of the accepted {p99 * 1000:.0f} ms")


@contextmanager
def _crowd(trial: Trial, stand: Stand, service: Service) -> Iterator[None]:
    """wrk, with twice as many connections as are admitted, each asking again as soon as it is answered."""
    require_wrk()
    bodies, script = trial.folder / "bodies", trial.folder / "crowd.lua"
    events = ({"event_id": f"crowd-{n}", "product": PRODUCT, "payload": p} for n, p in enumerate(trial.payloads))
    bodies.write_text("".join(json.dumps(event) + "\n" for event in events))
    script.write_text(_WRK % {"bodies": bodies, "token": stand.service_token})
    command = ["wrk", "--threads", "1", "--connections", str(2 * ADMITTED), "--duration", "600s"]
    crowd = subprocess.Popen([*command, "--script", str(script), service.url], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        yield
    finally:
        crowd.terminate()
        crowd.wait()


SCENARIOS = (Scenario("overload", "twice as many calls at once as are admitted", overloaded),)
