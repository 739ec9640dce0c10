"""What a benchmark needs to know of a contender: how it starts, how it takes a payload, and how its answer is read."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks.model import PRODUCT, Row, Workload
from lab.load.generator import Target
from lab.process import Process

# The contender runs on one core; the load generator, Postgres and everything else on the other.
SERVER_CORE, LOAD_CORE = 0, 1
EVENT_HEAD = '{"event_id":"'


@dataclass(frozen=True)
class Scored:
    score: float
    variant: str = "production"


@dataclass(frozen=True)
class Wire:
    """A request's body is `head`, an event id, then `tail(payload)`; `read` takes the parsed JSON answer."""

    head: str
    tail: Callable[[Row], str]
    read: Callable[[Any], Scored] | None  # None: the answer is empty


@dataclass(frozen=True)
class Running:
    """Both are called after the last round.

    `fault()`: why the contender did not do the work its name promises, else None. `remark()`: what a reader must know
    of the figures, else None.
    """

    process: Process
    target: Target
    fault: Callable[[], str | None] = lambda: None
    remark: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Contender:
    """`start(workload, folder)` yields a server that is ready, and ends it on exit."""

    name: str
    title: str
    wire: Wire
    start: Callable[[Workload, Path], AbstractContextManager[Running]]


def event_tail(payload: Row, product: str = PRODUCT) -> str:
    """Return what follows the event id in the body of /v1/infer."""
    return f'","product":"{product}","payload":{json.dumps(payload, separators=(",", ":"))}}}'


def _read_event(answer: Any) -> Scored:
    return Scored(answer["score"])


EVENT = Wire(EVENT_HEAD, event_tail, _read_event)
