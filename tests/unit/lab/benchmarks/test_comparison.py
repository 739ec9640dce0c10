"""When a contender's figures count, and when they do not."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lab.benchmarks import equivalence, machine, others, report
from lab.benchmarks.contender import Running
from lab.benchmarks.model import RECIPE, Workload
from lab.benchmarks.side_by_side import Outcome, Round, outcome
from lab.demo.train import train
from lab.demo.transactions import transactions
from lab.load.generator import Target, write_bodies
from lab.process import Memory, Process
from tests.support.scripted_server import Behaviour, Serve

ROUND = Round(1000.0, 1.0, 2.0, 3.0, 90.0, 0.1, 0.0, requests=5000, errors=0)
CONTENDER = others.contenders()[0]


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(train(replace(RECIPE, trees=5, rows=2000)).onnx)
    return Workload({"production": path}, tuple(transactions(200, seed=1).payloads()))


def test_the_figures_are_medians_over_the_rounds() -> None:
    rounds = [replace(ROUND, per_second=rate) for rate in (900.0, 1000.0, 5000.0)]
    assert outcome(CONTENDER, rounds, Memory(10, 5), None).per_second == 1000.0


def test_one_failed_request_fails_the_contender() -> None:
    found = outcome(CONTENDER, [ROUND, replace(ROUND, errors=1)], Memory(10, 5), None)
    assert found.failed == "1 of 10000 requests failed"
    assert "1,000" not in report.markdown([found])


def test_a_contender_with_other_scores_is_not_measured(serve: Serve, workload: Workload, tmp_path: Path) -> None:
    with pytest.raises(equivalence.NotEquivalent, match="payload 0"):
        equivalence.check(CONTENDER, _running(serve(Behaviour(answer=b'{"score":0.9999}')), tmp_path), workload)


def test_a_contender_that_answers_503_is_not_measured(serve: Serve, workload: Workload, tmp_path: Path) -> None:
    with pytest.raises(equivalence.NotEquivalent, match="HTTP 503"):
        equivalence.check(CONTENDER, _running(serve(Behaviour(status=503)), tmp_path), workload)


def test_a_goal_is_judged_in_its_own_direction() -> None:
    assert report.Goal("rate", wanted=10, got=11).reached
    assert not report.Goal("p99", wanted=10, got=11, at_most=True).reached


def test_goals_are_taken_only_from_contenders_that_did_not_fail() -> None:
    ours = Outcome("sira", "ours", None, per_second=12_000, p99_ms=5, largest_mib=200)
    failed = Outcome("mlserver", "MLServer", "3 of 10 requests failed", per_second=100)
    assert not any("MLServer" in goal.what for goal in report.goals([ours, failed]))


def test_a_disturbed_round_has_a_remark() -> None:
    noisy = Outcome("sira", "ours", None, per_second=1, disturbed=0.3)
    assert "30%" in report.remarks([noisy])[0]


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
    bodies = write_bodies(folder / "bodies", [CONTENDER.wire.tail({"amount": 1.0})])
    with Process(["true"], log=folder / "log") as process:
        return Running(process, Target(url, CONTENDER.wire.head, bodies))
