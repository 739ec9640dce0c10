"""The generator of constant load, against a server that stalls and fails."""

from pathlib import Path

import numpy as np
import pytest

from lab.load.generator import Target
from lab.load.open_loop import OpenLoop, Recording, Schedule, Unreadable, answered, record
from tests.support.scripted_server import Behaviour, Serve


def _record(url: str, folder: Path, schedule: Schedule) -> Recording:
    bodies = folder / "bodies"
    bodies.write_text('"}\n')
    return record(Target(url, '{"event_id":"', bodies), schedule, connections=4)


def test_a_stall_counts_for_every_request_that_was_due_during_it(serve: Serve, tmp_path: Path) -> None:
    url = serve(Behaviour(stall=(100, 0.3)))
    latency = _record(url, tmp_path, Schedule(rate=500, seconds=1)).latency
    # 150 were due in those 0.3 s; a closed loop with four connections would have shown four.
    assert 130 <= int((latency > 0.02).sum()) <= 300
    assert 0.28 < latency.max() < 0.6


def test_every_request_carries_an_event_id_of_its_own(serve: Serve, tmp_path: Path) -> None:
    behaviour = Behaviour()
    _record(serve(behaviour), tmp_path, Schedule(rate=400, seconds=0.5))
    assert len({body["event_id"] for body in behaviour.bodies}) == 200


def test_an_answer_that_is_not_2xx_is_a_failed_request(serve: Serve, tmp_path: Path) -> None:
    assert _record(serve(Behaviour(status=503)), tmp_path, Schedule(rate=100, seconds=0.2)).failed == 20


@pytest.mark.parametrize("cut", [3, 20, 37, 40])
def test_an_answer_is_read_only_when_it_is_whole(cut: int) -> None:
    answer = b"HTTP/1.1 201 X\r\ncontent-length: 4\r\n\r\nabcd"
    assert answered(answer[:cut]) is None
    assert answered(answer) == 201


def test_an_answer_without_a_length_is_refused() -> None:
    with pytest.raises(Unreadable):
        answered(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_a_schedule_spreads_its_requests_evenly() -> None:
    assert Schedule(rate=250, seconds=2).requests == 500


def test_no_request_leaves_before_it_is_due(serve: Serve, tmp_path: Path) -> None:
    recording = _record(serve(Behaviour()), tmp_path, Schedule(rate=200, seconds=0.5))
    assert (recording.lateness >= 0).all()
    assert not np.isnan(recording.lateness).any()


def test_a_generator_in_a_process_of_its_own_returns_the_same_figures(serve: Serve, tmp_path: Path) -> None:
    bodies = tmp_path / "bodies"
    bodies.write_text('"}\n')
    target = Target(serve(Behaviour(status=503)), '{"event_id":"', bodies)
    summary = OpenLoop(target, Schedule(rate=100, seconds=0.2), tmp_path).run()
    assert (summary.requests, summary.failures) == (20, {"unanswered": 20})
