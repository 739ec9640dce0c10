"""The profile accounts for every microsecond once."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from lab.benchmarks.contender import EVENT_HEAD, event_tail
from lab.benchmarks.model import RECIPE, Workload
from lab.benchmarks.profile import batch, batch_steps, request, steps
from lab.benchmarks.profile.http_alone import ANSWER
from lab.benchmarks.profile.steps import Step
from lab.benchmarks.profile.threads import Spent
from lab.demo.train import train
from lab.demo.transactions import transactions
from lab.http import ask
from lab.ports import free_port
from lab.process import Process
from lab.procfs import thread_seconds

SPENT = Spent(
    per_second=8_000.0,
    batch=12.0,
    threads={"MainThread": (60.0, 15.0), "spool-writer": (4.0, 6.0), "shipper": (8.0, 2.0), "reasons": (3.0, 1.0)},
)


def test_the_parts_of_a_request_are_all_that_was_spent() -> None:
    *parts, together = request.line(SPENT, (11.0, 12.0), [Step("parse", 2.0), Step("score", 8.0)])
    assert together["µs"] == SPENT.total == 99.0
    assert sum(float(part["µs"]) for part in parts) == 99.0


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(train(replace(RECIPE, trees=5, rows=2000)).onnx)
    return Workload({"production": path}, tuple(transactions(1_200, seed=1).payloads()))


def test_the_parts_of_a_batch_are_all_that_was_spent() -> None:
    *parts, together = batch.line(SPENT.threads, [Step("decode", 2.0), Step("score", 8.0)])
    assert together["µs"] == SPENT.total
    assert sum(float(part["µs"]) for part in parts) == SPENT.total


@pytest.mark.parametrize("measure", [partial(steps.measure, batch=16), batch_steps.measure])
def test_every_step_takes_time(workload: Workload, measure: Callable[[Workload], list[Step]]) -> None:
    found = measure(workload)
    assert len({step.name for step in found}) == len(found)
    assert all(step.microseconds > 0 for step in found)


def test_a_thread_has_its_own_time_and_not_its_process() -> None:
    over = threading.Event()

    def work() -> None:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass
        over.wait()

    thread = threading.Thread(target=work)
    idle = threading.Thread(target=over.wait)
    for one in (thread, idle):
        one.start()
    try:
        deadline = time.monotonic() + 20
        while sum(thread_seconds(thread.native_id or 0)) < 0.15 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sum(thread_seconds(thread.native_id or 0)) >= 0.15
        assert sum(thread_seconds(idle.native_id or 0)) < 0.1
    finally:
        over.set()
        thread.join()
        idle.join()


@pytest.fixture
def port_without_endpoint(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "lab.benchmarks.profile.http_alone", str(port)]
    with Process(command, log=tmp_path / "log") as process:
        process.wait_ready(f"http://127.0.0.1:{port}", 60)
        yield port


def test_the_protocol_alone_answers_at_once(port_without_endpoint: int) -> None:
    event = json.loads(f"{EVENT_HEAD}one{event_tail({'amount': 1.0})}")
    answer = ask(f"http://127.0.0.1:{port_without_endpoint}/v1/infer", body=event)
    assert (answer.status, answer.body["prediction_id"]) == (200, ANSWER.prediction_id)
