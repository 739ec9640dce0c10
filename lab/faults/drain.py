"""Orderly ends: SIGTERM under load, and a rolling restart of two instances."""

import os
import random
import signal

from lab.faults.deployment import WORKERS, Deployment
from lab.faults.proxy import Proxy
from lab.faults.scenario import Scenario, ScenarioRun
from lab.product import Service
from lab.waiting import wait_until

CANARY_PERCENT = 20.0
MAX_STOP_SECONDS = 10.0
INSTANCES = ("first", "second")


def terminate_service(run: ScenarioRun) -> None:
    """Requests in progress are answered, the spool is shipped, and the process exits with 0 within ten seconds."""
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service()
        deployment.start_canary(service, "2", CANARY_PERCENT)
        slowest = 0.0
        with run.load(deployment, service.port):
            for _ in run.rounds(full=20, quick=2, action="SIGTERM"):
                run.wait(2.0, "load")
                slowest = max(slowest, _terminate(run, deployment, service))
                service = deployment.start_service(port=service.port)
        run.settle(deployment)
        run.expect_no_refusal()
        run.expect_no_broken_connection()
        run.note(f"slowest stop {slowest:.1f} s")


def _terminate(run: ScenarioRun, deployment: Deployment, service: Service) -> float:
    """Return the seconds it took; every answered row must be in Postgres by then."""
    code, seconds = service.process.terminate(30.0)
    run.expect(code == 0, f"it exits with 0, not {code}")
    run.expect(seconds < MAX_STOP_SECONDS, f"it exits within {MAX_STOP_SECONDS:.0f} s, not {seconds:.1f} s")
    left = deployment.unshipped_rows(service)
    run.expect(left == 0, f"its spool is empty: {left} rows are left")
    return seconds


def terminate_worker(run: ScenarioRun) -> None:
    """One worker gets SIGTERM; the others take over its callers until it is replaced."""
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service()
        deployment.start_canary(service, "2", CANARY_PERCENT)
        with run.load(deployment, service.port):
            for _ in run.rounds(full=20, quick=2, action="SIGTERM to a worker"):
                _replace_worker(service)
                run.wait(1.0, "load")
        run.settle(deployment)
        run.expect_no_refusal()
        run.expect_no_broken_connection()
        run.expect(run.ledger.unreached == 0, f"a worker always listens: {run.ledger.unreached} attempts found none")


def _replace_worker(service: Service) -> None:
    wait_until(lambda: service.accepting_workers() == WORKERS, 30.0, "every worker accepts connections")
    os.kill(random.choice(service.workers()), signal.SIGTERM)
    wait_until(lambda: service.accepting_workers() < WORKERS, 10.0, "the worker leaves")


def restart_in_turn(run: ScenarioRun) -> None:
    """Two instances behind a TCP load balancer that does not know HTTP, restarted in turn: no caller notices."""
    with run.deployment() as deployment:
        deployment.start_controller()
        services = {name: deployment.start_service(name) for name in INSTANCES}
        first, second = services.values()
        deployment.start_canary(first, "2", CANARY_PERCENT)
        deployment.await_served(second, "2", "canary")
        with Proxy(run.background, first.port, second.port) as balancer:
            with run.load(deployment, balancer.port):
                for _ in run.rounds(full=10, quick=1, action="restarting in turn"):
                    for name in INSTANCES:
                        run.wait(1.0, "load")
                        _terminate(run, deployment, services[name])
                        services[name] = deployment.start_service(name, port=services[name].port)
                run.wait(1.0, "load")
            run.settle(deployment)
        run.expect_no_refusal()
        run.expect_no_broken_connection()


SCENARIOS = (
    Scenario("terminated", "SIGTERM under load", terminate_service),
    Scenario("worker-terminated", "SIGTERM to a worker", terminate_worker),
    Scenario("rolling-restart", "rolling restart of two instances", restart_in_turn),
)
