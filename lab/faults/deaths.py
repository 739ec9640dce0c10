"""Processes that are killed with SIGKILL at random moments under load."""

import os
import random
import signal
import statistics
import time

from lab.faults.proxy import PASS, Behaviour
from lab.faults.scenario import Scenario, ScenarioRun
from lab.product import Service
from lab.waiting import wait_until

ROUNDS = {"full": 50, "quick": 3}
CANARY_PERCENT = 20.0
QUICK_TICKS = {"CANARY_TICK_SECONDS": "0.5"}


def kill_worker(run: ScenarioRun) -> None:
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service()
        deployment.start_canary(service, "2", CANARY_PERCENT)
        replaced: list[float] = []
        with run.load(deployment, service.port):
            for _ in run.rounds(**ROUNDS, action="killing a worker"):
                time.sleep(random.uniform(0.2, 2.0))
                replaced.append(_kill_one_worker(service))
        run.settle(deployment)
        run.expect_no_refusal()
        run.note(f"replaced in {statistics.median(replaced):.1f} s")


def _kill_one_worker(service: Service) -> float:
    """Return the seconds until as many workers serve as before."""
    workers = service.workers()
    os.kill(random.choice(workers), signal.SIGKILL)
    seconds = wait_until(lambda: len(service.workers()) < len(workers), 5.0, "the worker ends")
    seconds += wait_until(lambda: len(service.workers()) == len(workers), 60.0, "the worker is replaced")
    return seconds + service.await_ready()


def kill_service(run: ScenarioRun) -> None:
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service()
        deployment.start_canary(service, "2", CANARY_PERCENT)
        unavailable: list[float] = []
        with run.load(deployment, service.port):
            for _ in run.rounds(**ROUNDS, action="killing the service"):
                time.sleep(random.uniform(0.2, 2.0))
                service.process.kill()
                killed = time.monotonic()
                service = deployment.start_service(port=service.port)
                unavailable.append(time.monotonic() - killed)
        run.settle(deployment)
        run.expect_no_refusal()
        run.note(f"ready again in {statistics.median(unavailable):.1f} s")


def kill_controller(run: ScenarioRun) -> None:
    with run.deployment() as deployment:
        controller = deployment.start_controller(settings=QUICK_TICKS)
        service = deployment.start_service()
        deployment.start_canary(service, "2", CANARY_PERCENT)
        with run.load(deployment, service.port):
            for _ in run.rounds(**ROUNDS, action="killing the controller"):
                time.sleep(random.uniform(0.2, 2.0))
                controller.process.kill()
                controller = deployment.start_controller(settings=QUICK_TICKS)
        run.settle(deployment)
        run.expect_no_refusal()
        run.expect_no_broken_connection()


def kill_while_postgres_is_away(run: ScenarioRun) -> None:
    """Workers die while Postgres is cut off, and the whole service while it hangs: their replacements score."""
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service()
        deployment.start_canary(service, "2", CANARY_PERCENT)
        with run.load(deployment, service.port):
            run.wait(2.0, "load")
            deployment.database.behave(Behaviour(refuse=True))
            for _ in run.rounds(full=10, quick=1, action="killing a worker"):
                time.sleep(random.uniform(0.2, 2.0))
                _kill_one_worker(service)
            service.process.kill()
            deployment.database.behave(Behaviour(hang=True))
            service = deployment.start_service(port=service.port)
            run.wait(2.0, "load")
            reported = service.readiness().body.get("faults", [])
            run.expect(any("served here last" in fault for fault in reported), f"it reports what it serves: {reported}")
            run.expect(service.metric("sira_serving_last_served") == 1.0, "its metrics report it too")
            run.expect(service.metric("sira_canary_percent") == 0.0, "no event is routed to a canary")
            deployment.database.behave(PASS)
            service.await_ready()
        run.settle(deployment)
        run.expect_no_refusal()


def kill_everything(run: ScenarioRun) -> None:
    """Kill the service, the controller and Postgres in the same moment, then start all three again."""
    with run.deployment() as deployment:
        controller = deployment.start_controller()
        service = deployment.start_service()
        deployment.start_canary(service, "2", CANARY_PERCENT)
        unavailable: list[float] = []
        with run.load(deployment, service.port):
            for _ in run.rounds(full=20, quick=2, action="killing everything"):
                time.sleep(random.uniform(0.2, 2.0))
                killed = time.monotonic()
                service.process.kill()
                controller.process.kill()
                deployment.kill_postgres()
                service = deployment.start_service(port=service.port)
                unavailable.append(time.monotonic() - killed)
                controller = deployment.start_controller()
        run.settle(deployment)
        run.expect_no_refusal()
        run.note(f"ready again in {statistics.median(unavailable):.1f} s")


SCENARIOS = (
    Scenario("worker-killed", "kill -9 of a worker", kill_worker),
    Scenario("service-killed", "kill -9 of the whole service", kill_service),
    Scenario("everything-killed", "kill -9 of all processes at once, Postgres included", kill_everything),
    Scenario("killed-while-cut", "kill -9 of workers and service while Postgres is away", kill_while_postgres_is_away),
    Scenario("controller-killed", "kill -9 of the controller", kill_controller),
)
