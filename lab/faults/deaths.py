"""Processes that die without a word, at random moments under load."""

import os
import random
import signal
import statistics
import time

from lab.faults.proxy import PASS, Behaviour
from lab.faults.service import Service, wait_until
from lab.faults.trial import Scenario, Trial

ROUNDS = {"full": 50, "quick": 3}
CANARY_PERCENT = 20.0
QUICK_TICKS = {"CANARY_TICK_SECONDS": "0.5"}


def worker(trial: Trial) -> None:
    with trial.stand() as stand:
        stand.control()
        service = stand.serve()
        stand.start_canary(service, "2", CANARY_PERCENT)
        replaced: list[float] = []
        with trial.load(stand, service.port):
            for _ in trial.rounds(**ROUNDS, doing="killing a worker"):
                time.sleep(random.uniform(0.2, 2.0))
                replaced.append(_kill_worker(service))
        trial.settle(stand)
        trial.expect_no_refusal()
        trial.note(f"replaced in {statistics.median(replaced):.1f} s")


def _kill_worker(service: Service) -> float:
    """Seconds until as many serve as before."""
    workers = service.workers()
    os.kill(random.choice(workers), signal.SIGKILL)
    seconds = wait_until(lambda: len(service.workers()) < len(workers), 5.0, "the worker is gone")
    seconds += wait_until(lambda: len(service.workers()) == len(workers), 60.0, "the worker is replaced")
    return seconds + service.await_ready()


def service(trial: Trial) -> None:
    with trial.stand() as stand:
        stand.control()
        serving = stand.serve()
        stand.start_canary(serving, "2", CANARY_PERCENT)
        away: list[float] = []
        with trial.load(stand, serving.port):
            for _ in trial.rounds(**ROUNDS, doing="killing the service"):
                time.sleep(random.uniform(0.2, 2.0))
                serving.process.kill()
                killed = time.monotonic()
                serving = stand.serve(port=serving.port)
                away.append(time.monotonic() - killed)
        trial.settle(stand)
        trial.expect_no_refusal()
        trial.note(f"ready again in {statistics.median(away):.1f} s")


def controller(trial: Trial) -> None:
    with trial.stand() as stand:
        controlling = stand.control(settings=QUICK_TICKS)
        serving = stand.serve()
        stand.start_canary(serving, "2", CANARY_PERCENT)
        with trial.load(stand, serving.port):
            for _ in trial.rounds(**ROUNDS, doing="killing the controller"):
                time.sleep(random.uniform(0.2, 2.0))
                controlling.kill()
                controlling = stand.control(settings=QUICK_TICKS)
        trial.settle(stand)
        trial.expect_no_refusal()
        trial.expect(trial.ledger.broken == 0, "no caller noticed")


def while_cut_off(trial: Trial) -> None:
    """Workers die while Postgres is cut off, and the whole service while it hangs: what replaces them scores."""
    with trial.stand() as stand:
        stand.control()
        serving = stand.serve()
        stand.start_canary(serving, "2", CANARY_PERCENT)
        with trial.load(stand, serving.port):
            trial.wait(2.0, "load")
            stand.database.behave(Behaviour(refuse=True))
            for _ in trial.rounds(full=10, quick=1, doing="killing a worker"):
                time.sleep(random.uniform(0.2, 2.0))
                _kill_worker(serving)
            serving.process.kill()
            stand.database.behave(Behaviour(hang=True))
            serving = stand.serve(port=serving.port)
            trial.wait(2.0, "load")
            told = serving.readiness().body.get("faults", [])
            trial.expect(any("served here last" in fault for fault in told), f"it says what it serves: {told}")
            trial.expect(serving.metric("sira_serving_last_served") == 1.0, "so do the metrics")
            trial.expect(serving.metric("sira_canary_percent") == 0.0, "no canary is routed")
            stand.database.behave(PASS)
            serving.await_ready()
        trial.settle(stand)
        trial.expect_no_refusal()


SCENARIOS = (
    Scenario("worker-killed", "kill -9 of a worker", worker),
    Scenario("service-killed", "kill -9 of the whole service", service),
    Scenario("killed-while-cut", "kill -9 of workers and service while Postgres is away", while_cut_off),
    Scenario("controller-killed", "kill -9 of the controller", controller),
)
