"""What a contender is to the harness: how it starts, how a payload is put to it, and how its answer reads."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks.model import PRODUCT, Row, Workload
from lab.benchmarks.process import Server
from lab.benchmarks.wrk import Target


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
    server: Server
    target: Target
    fault: Callable[[], str | None] = lambda: None
    """Asked after the last round: why the contender did not do the work its name says, None when it did."""


@dataclass(frozen=True)
class Contender:
    name: str
    title: str
    wire: Wire
    start: Callable[[Workload, Path], AbstractContextManager[Running]]
    """Starts it in a folder of its own, ready to be driven, and stops it on exit."""


EVENT_HEAD = '{"event_id":"'


def event_tail(payload: Row, product: str = PRODUCT) -> str:
    return f'","product":"{product}","payload":{json.dumps(payload, separators=(",", ":"))}}}'
