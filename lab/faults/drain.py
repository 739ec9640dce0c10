"""Ends that were asked for: SIGTERM under load, and a rolling restart of two instances."""

import os
import random
import signal

from lab.faults.proxy import Proxy
from lab.faults.service import Service, wait_until
from lab.faults.stand import WORKERS, Stand
from lab.faults.trial import Scenario, Trial

CANARY_PERCENT = 20.0
LONGEST_SECONDS = 10.0


def terminated(trial: Trial) -> None:
    """What is under way is answered, the spool is shipped, and the process ends with 0 in under ten seconds."""
    with trial.stand() as stand:
        stand.control()
        service = stand.serve()
        stand.start_canary(service, "2", CANARY_PERCENT)
        slowest = 0.0
        with trial.load(stand, service.port):
            for _ in trial.rounds(full=20, quick=2, doing="SIGTERM"):
                trial.wait(2.0, "load")
                slowest = max(slowest, _terminate(trial, stand, service))
                service = stand.serve(port=service.port)
        trial.settle(stand)
        trial.expect_no_refusal()
        trial.expect(trial.ledger.broken == 0, f"no connection broke: {trial.ledger.broken} did")
        trial.note(f"slowest end {slowest:.1f} s")


def _terminate(trial: Trial, stand: Stand, service: Service) -> float:
    """Seconds it took; all that it answered must be in Postgres by then."""
    code, seconds = service.process.terminate(30.0)
    trial.expect(code == 0, f"it ends with 0, not {code}")
    trial.expect(seconds < LONGEST_SECONDS, f"it ends within {LONGEST_SECONDS:.0f} s, not {seconds:.1f} s")
    left = stand.spooled(service)
    trial.expect(left == 0, f"its spool is empty: {left} rows are left")
    return seconds


def worker_terminated(trial: Trial) -> None:
    """One worker is asked to end, and the others take its callers until it is replaced."""
    with trial.stand() as stand:
        stand.control()
        service = stand.serve()
        stand.start_canary(service, "2", CANARY_PERCENT)
        with trial.load(stand, service.port):
            for _ in trial.rounds(full=20, quick=2, doing="SIGTERM to a worker"):
                _replace_worker(service)
                trial.wait(1.0, "load")
        trial.settle(stand)
        trial.expect_no_refusal()
        trial.expect(trial.ledger.broken == 0, f"no connection broke: {trial.ledger.broken} did")
        trial.expect(trial.ledger.unreached == 0, f"someone listens: {trial.ledger.unreached} times nobody did")


def _replace_worker(service: Service) -> None:
    wait_until(lambda: service.taking() == WORKERS, 30.0, "every worker takes connections")
    os.kill(random.choice(service.workers()), signal.SIGTERM)
    wait_until(lambda: service.taking() < WORKERS, 10.0, "the worker leaves")


def rolled(trial: Trial) -> None:
    """Two instances behind a TCP balancer that knows nothing of HTTP, restarted in turn: no caller notices."""
    with trial.stand() as stand:
        stand.control()
        services = [stand.serve("first"), stand.serve("second")]
        stand.start_canary(services[0], "2", CANARY_PERCENT)
        stand.await_served(services[1], "2", "canary")
        with Proxy(trial.background, *(service.port for service in services)) as balancer:
            with trial.load(stand, balancer.port):
                for _ in trial.rounds(full=10, quick=1, doing="restarting in turn"):
                    for place, name in enumerate(("first", "second")):
                        trial.wait(1.0, "load")
                        _terminate(trial, stand, services[place])
                        services[place] = stand.serve(name, port=services[place].port)
                trial.wait(1.0, "load")
            trial.settle(stand)
        trial.expect_no_refusal()
        trial.expect(trial.ledger.broken == 0, f"no connection broke: {trial.ledger.broken} did")


SCENARIOS = (
    Scenario("terminated", "SIGTERM under load", terminated),
    Scenario("worker-terminated", "SIGTERM to a worker", worker_terminated),
    Scenario("rolling-restart", "rolling restart of two instances", rolled),
)
