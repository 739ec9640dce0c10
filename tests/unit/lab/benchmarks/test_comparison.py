"""What makes a contender's figures count, and what makes them not."""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lab.benchmarks import equivalence, machine, others, report, wrk
from lab.benchmarks.contender import Running
from lab.benchmarks.model import RECIPE, Workload
from lab.benchmarks.process import Memory, Server, ServerFailed
from lab.benchmarks.side_by_side import Outcome, Round, outcome
from lab.demo.train import train
from lab.demo.transactions import transactions

from .conftest import Behaviour, Serve

ROUND = Round(1000.0, 1.0, 2.0, 3.0, 90.0, 0.1, 0.0, requests=5000, errors=0)
CONTENDER = others.contenders()[0]


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(train(replace(RECIPE, trees=5, rows=2000)).onnx)
    return Workload({"production": path}, tuple(transactions(200, seed=1).payloads()))


@pytest.fixture
def sleeper(tmp_path: Path) -> Server:
    grandchild = "import time; sum(range(10**7)); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}], start_new_session=True)"
    return Server("sleeper", [sys.executable, "-c", parent], cwd=tmp_path, env={}, log=tmp_path / "log", cores="0-1")


def test_the_figures_are_medians_over_the_rounds() -> None:
    rounds = [replace(ROUND, per_second=rate) for rate in (900.0, 1000.0, 5000.0)]
    assert outcome(CONTENDER, rounds, Memory(10, 5), None).per_second == 1000.0


def test_one_failed_request_fails_the_contender() -> None:
    found = outcome(CONTENDER, [ROUND, replace(ROUND, errors=1)], Memory(10, 5), None)
    assert found.failed == "1 of 10000 requests failed"
    assert "1,000" not in report.markdown([found])


def test_a_contender_that_scores_otherwise_is_not_timed(serve: Serve, workload: Workload, tmp_path: Path) -> None:
    with pytest.raises(equivalence.NotEquivalent, match="payload 0"):
        equivalence.check(CONTENDER, _running(serve(Behaviour(answer=b'{"score":0.9999}')), tmp_path), workload)


def test_a_contender_that_answers_503_is_not_timed(serve: Serve, workload: Workload, tmp_path: Path) -> None:
    with pytest.raises(equivalence.NotEquivalent, match="HTTP 503"):
        equivalence.check(CONTENDER, _running(serve(Behaviour(status=503)), tmp_path), workload)


def test_a_goal_is_judged_in_its_own_direction() -> None:
    assert report.Goal("rate", wanted=10, got=11).reached
    assert not report.Goal("p99", wanted=10, got=11, at_most=True).reached


def test_goals_are_taken_only_from_contenders_that_did_not_fail() -> None:
    ours = Outcome("sira", "ours", None, per_second=12_000, p99_ms=5, largest_mib=200)
    failed = Outcome("mlserver", "MLServer", "3 of 10 requests failed", per_second=100)
    assert not any("MLServer" in goal.what for goal in report.goals([ours, failed]))


def test_a_disturbed_round_is_reported() -> None:
    noisy = Outcome("sira", "ours", None, per_second=1, disturbed=0.3)
    assert "30%" in report.remarks([noisy])[0]


def test_a_process_that_leaves_the_session_still_counts_and_still_stops(sleeper: Server) -> None:
    deadline = time.monotonic() + 20
    while (sleeper.cpu_seconds() < 0.1 or len(sleeper.pids()) < 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    family = sleeper.pids()
    assert len(family) == 2
    assert sleeper.cpu_seconds() >= 0.1
    assert sleeper.peak_memory().total_mib > sleeper.peak_memory().largest_mib > 1
    sleeper.stop()
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and _alive(pid) for pid in family)


def test_a_server_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no model here')"]
    server = Server("broken", command, cwd=tmp_path, env={}, log=tmp_path / "log", cores="0-1")
    with pytest.raises(ServerFailed, match="no model here"):
        server.wait_ready("http://127.0.0.1:9/", seconds=20)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")
def test_wrk_sends_each_event_id_once_and_counts_what_is_not_2xx(serve: Serve, tmp_path: Path) -> None:
    behaviour = Behaviour(status=500)
    load = wrk.drive(_running(serve(behaviour), tmp_path).target, 1, connections=2)
    ids = [body["event_id"] for body in behaviour.bodies]
    assert len(ids) == len(set(ids)) >= load.requests > 0
    assert load.errors == load.bad_status == load.requests


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")
def test_a_run_goes_on_where_the_last_one_ended(serve: Serve, tmp_path: Path) -> None:
    behaviour = Behaviour()
    target = _running(serve(behaviour), tmp_path).target
    wrk.write_bodies(target.bodies, [f'","place":{place}}}' for place in range(5)])
    wrk.drive(target, 1, offset=7, connections=1)
    # From place 2 on, less the one request that wrk makes up at its start and never sends.
    assert [body["place"] for body in behaviour.bodies[:4]] == [3, 4, 0, 1]


def test_wrk_without_figures_is_an_error_and_not_a_zero() -> None:
    with pytest.raises(wrk.LoadFailed, match="unable to connect"):
        wrk.parse("", "unable to connect to 127.0.0.1")


@pytest.mark.parametrize(
    "lock", sorted(others.CONTENDERS.glob("*/requirements.lock")), ids=lambda path: path.parent.name
)
def test_a_contenders_lock_has_hashes_and_names_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert len(re.findall(r"^\S+==", text, re.MULTILINE)) == len(re.findall(r"^\S+==.*\\$", text, re.MULTILINE)) > 5
    assert "://" not in text


def test_every_contender_runs_the_onnxruntime_of_this_service() -> None:
    ours = machine.locked(Path("requirements.lock").read_text())["onnxruntime"]
    versions = {
        machine.locked(path.read_text()).get("onnxruntime", ours) for path in others.CONTENDERS.glob("*/*.lock")
    }
    assert versions == {ours}


def _running(url: str, folder: Path) -> Running:
    bodies = wrk.write_bodies(folder / "bodies", [CONTENDER.wire.tail({"amount": 1.0})])
    server = Server("none", ["true"], cwd=folder, env={}, log=folder / "log", cores="0-1")
    server.stop()
    return Running(server, wrk.Target(url, CONTENDER.wire.head, bodies))


def _alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")
