"""A child process and all that it starts: measured together, ended together, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import procfs
from lab.errors import ProcessFailed
from lab.process import Process

GRANDCHILD = "import time; sum(range(10**7)); time.sleep(60)"
# Starts a grandchild in a session of its own and waits for it.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {GRANDCHILD!r}], start_new_session=True)"
# Starts one and ends: the grandchild loses its parent.
ORPHANING = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {GRANDCHILD!r}], start_new_session=True)"


def python(code: str, folder: Path) -> Process:
    return Process([sys.executable, "-c", code], log=folder / "child.log")


def wait_for_family(process: Process, size: int) -> list[int]:
    deadline = time.monotonic() + 20
    while len(process.family()) != size and time.monotonic() < deadline:
        time.sleep(0.05)
    family = process.family()
    assert len(family) == size
    return family


def test_a_descendant_in_another_session_is_measured_and_killed_with_its_ancestor(tmp_path: Path) -> None:
    process = python(PARENT, tmp_path)
    family = wait_for_family(process, 2)
    deadline = time.monotonic() + 20
    while process.cpu_seconds() < 0.1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.cpu_seconds() >= 0.1
    assert process.peak_memory().total_mib > process.peak_memory().largest_mib > 1
    process.terminate()
    assert not procfs.parents().keys() & set(family)


def test_a_descendant_whose_parent_has_ended_is_still_found_and_killed(tmp_path: Path) -> None:
    process = python(ORPHANING, tmp_path)
    assert process.wait(20) == 0
    (orphan,) = wait_for_family(process, 1)
    process.kill()
    assert orphan not in procfs.parents()


def test_the_outer_process_owns_what_an_inner_one_started(tmp_path: Path) -> None:
    inner = (
        "import sys, time; from pathlib import Path; from lab.process import Process;"
        f"Process([sys.executable, '-c', {ORPHANING!r}], log=Path({str(tmp_path / 'inner.log')!r})).wait(20);"
        "print('up', flush=True); time.sleep(60)"
    )
    outer = python(inner, tmp_path)
    deadline = time.monotonic() + 20
    while outer.output() != "up\n" and time.monotonic() < deadline:
        time.sleep(0.02)
    family = wait_for_family(outer, 2)
    outer.kill()
    assert not procfs.parents().keys() & set(family)


def test_a_child_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    owner = (
        "import sys, time; from pathlib import Path; from lab.process import Process;"
        f"print(Process([sys.executable, '-c', 'import time; time.sleep(60)'], log=Path({str(tmp_path / 'c')!r})).pid,"
        " flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        child = int(running.stdout.readline())
        assert child in procfs.parents()
        running.kill()
    deadline = time.monotonic() + 20
    while child in procfs.parents() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child not in procfs.parents()


def test_a_process_that_ends_before_it_is_ready_is_an_error_with_its_log(tmp_path: Path) -> None:
    process = python("raise SystemExit('no model here')", tmp_path)
    with pytest.raises(ProcessFailed, match="no model here"):
        process.wait_ready("http://127.0.0.1:9/", seconds=20)


def test_terminate_returns_the_exit_code_and_may_be_repeated(tmp_path: Path) -> None:
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True)"
    process = python(f"{code}; time.sleep(60)", tmp_path)
    deadline = time.monotonic() + 20
    while process.output() != "up\n" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [process.terminate()[0], process.terminate()[0]] == [7, 7]


def test_a_process_that_ignores_sigterm_is_killed_and_has_no_exit_code(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = python(code, tmp_path)
    deadline = time.monotonic() + 20
    while process.output() != "up\n" and time.monotonic() < deadline:
        time.sleep(0.02)
    exit_code, _ = process.terminate(seconds=0.1)
    assert exit_code is None
    assert process.wait(0) == -signal.SIGKILL


def test_a_log_that_is_continued_shows_only_what_this_process_wrote(tmp_path: Path) -> None:
    for number in (1, 2):
        process = python(f"print('run {number}')", tmp_path)
        process.wait(20)
        assert process.output() == f"run {number}\n"
        assert process.last_line() == f"run {number}"
    assert (tmp_path / "child.log").read_text() == "run 1\nrun 2\n"


def test_a_process_runs_on_the_cores_and_with_the_niceness_it_is_given(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    code = "import os; print(sorted(os.sched_getaffinity(0)), os.nice(0))"
    process = Process([sys.executable, "-c", code], log=tmp_path / "log", cores=str(core), niceness=7)
    process.wait(20)
    assert process.output() == f"[{core}] {min(19, os.nice(0) + 7)}\n"
