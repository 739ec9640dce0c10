from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.scripted_server import Behaviour, Serve, scripted_server


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(behaviour)`: the URL of a running server; all are stopped after the test."""
    with ExitStack() as running:

        def start(behaviour: Behaviour) -> str:
            return running.enter_context(scripted_server(behaviour))

        yield start
