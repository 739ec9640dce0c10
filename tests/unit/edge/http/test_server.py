"""The last worker that leaves a shared listening socket."""

import os
from pathlib import Path

from edge.http.server import Siblings


def test_only_the_last_of_the_siblings_finds_none_left(tmp_path: Path) -> None:
    first, second, third = (Siblings(tmp_path) for _ in range(3))

    assert [first.leave(), second.leave(), third.leave()] == [False, False, True]


def test_a_sibling_that_died_is_not_waited_for(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        Siblings(tmp_path)
        os._exit(0)
    os.waitpid(child, 0)

    assert Siblings(tmp_path).leave()


def test_a_replaced_worker_counts_again(tmp_path: Path) -> None:
    first, second = Siblings(tmp_path), Siblings(tmp_path)
    first.leave()
    third = Siblings(tmp_path)

    assert [second.leave(), third.leave()] == [False, True]
