"""Children are real processes of this interpreter."""

from runtime.child_process import ChildProcess
from tests.support.log_rows import wait_until


def test_a_child_reports_its_code_its_output_and_its_last_error_once() -> None:
    child = ChildProcess("timeit", "--nonsense")
    assert child.start()
    ended = child.ended()
    assert ended is not None
    assert ended.code == 2
    assert b"option --nonsense not recognized" in ended.output
    assert child.ended() is None


def test_the_last_line_of_an_error_is_kept() -> None:
    child = ChildProcess("no_such_module")
    assert child.start()
    ended = child.ended()
    assert ended is not None
    assert ended.code == 1
    assert ended.last_error.endswith("No module named no_such_module")


def test_a_second_child_waits_until_the_first_was_reported() -> None:
    child = ChildProcess("this")
    assert child.start()
    assert not child.start()
    assert child.ended() is not None
    assert child.start()
    assert child.ended() is not None


def test_a_child_that_writes_more_than_a_pipe_holds_ends() -> None:
    child = ChildProcess("pydoc", "builtins")
    assert child.start()
    assert wait_until(lambda: not child.is_running(), 60)
    ended = child.ended()
    assert ended is not None
    assert len(ended.output) > 65_536


def test_a_stopped_child_ends_at_once_and_none_is_started_again() -> None:
    child = ChildProcess("http.server", "--bind", "127.0.0.1", "0")
    assert child.start()
    assert child.is_running()
    child.stop()
    assert child.ended() is None
    assert not child.is_running()
    assert not child.start()
