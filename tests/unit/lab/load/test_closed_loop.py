"""wrk with our script: every event id once, every request that got no 2xx answer counted."""

import shutil
from pathlib import Path

import pytest

from lab.errors import LoadFailed
from lab.load.closed_loop import ClosedLoop, parse
from lab.load.generator import Target, write_bodies
from tests.support.scripted_server import Behaviour, Serve

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")


def target_of(url: str, folder: Path, tails: list[str]) -> Target:
    return Target(url, '{"event_id":"', write_bodies(folder / "bodies", tails))


@needs_wrk
def test_wrk_sends_each_event_id_once_and_counts_what_is_not_2xx(serve: Serve, tmp_path: Path) -> None:
    behaviour = Behaviour(status=500)
    summary = ClosedLoop(target_of(serve(behaviour), tmp_path, ['"}']), 1, connections=2).run()
    ids = [body["event_id"] for body in behaviour.bodies]
    assert len(ids) == len(set(ids)) >= summary.requests > 0
    assert summary.failures == {"bad_status": summary.requests}


@needs_wrk
def test_a_run_starts_at_the_body_after_its_offset(serve: Serve, tmp_path: Path) -> None:
    behaviour = Behaviour()
    target = target_of(serve(behaviour), tmp_path, [f'","position":{position}}}' for position in range(5)])
    ClosedLoop(target, 1, offset=7, connections=1).run()
    # From position 2 on, without the one request that wrk builds at its start and never sends.
    assert [body["position"] for body in behaviour.bodies[:4]] == [3, 4, 0, 1]


@needs_wrk
def test_load_that_is_stopped_leaves_no_process(serve: Serve, tmp_path: Path) -> None:
    load = ClosedLoop(target_of(serve(Behaviour()), tmp_path, ['"}']), 60)
    with load:
        pass
    with pytest.raises(LoadFailed):
        load.finish()


def test_wrk_without_figures_is_an_error_and_not_a_zero() -> None:
    with pytest.raises(LoadFailed, match="unable to connect"):
        parse("", "unable to connect to 127.0.0.1")
