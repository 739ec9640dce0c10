"""This service as a contender, alone and with a canary."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lab.benchmarks.contender import Contender, Running, Scored, Wire
from lab.benchmarks.model import PRODUCT, Row, Workload
from lab.benchmarks.others import EVENT
from lab.benchmarks.process import ServerFailed
from lab.benchmarks.served import Sira, serving


def contenders() -> list[Contender]:
    wire = Wire(EVENT.head, EVENT.tail, _read)
    return [
        Contender("sira", "**this service**, everything on", wire, _start),
        Contender("sira_canary", "**this service**, canary at 10 %", wire, partial(_start, canary_percent=10)),
        Contender("sira_one_disk", "**this service**, Postgres on its disk", wire, partial(_start, one_disk=True)),
    ]


@contextmanager
def _start(workload: Workload, folder: Path, *, canary_percent: int = 0, one_disk: bool = False) -> Iterator[Running]:
    with serving(workload, folder, one_disk=one_disk) as sira:
        if not canary_percent:
            yield sira.running()
            return
        body = {"product": PRODUCT, "canary_percent": canary_percent, "canary_model_id": sira.models["canary"]}
        sira.control.post("/v1/canary", body)
        _await_canary(sira, workload.payloads[0])
        yield replace(sira.running(), fault=partial(_canary_fault, sira, canary_percent))


def _await_canary(sira: Sira, payload: Row) -> None:
    """Returns at the first answer of the canary: the worker has loaded it."""
    for attempt in range(1000):
        if sira.infer(f"await-{attempt}", payload)["variant"] == "canary":
            return
        time.sleep(0.02)
    raise ServerFailed("sira_canary", "no answer came from the canary", sira.server.log)


def _canary_fault(sira: Sira, percent: int) -> str | None:
    """A canary that was rolled back during the rounds leaves figures of something else."""
    found = sira.control.get(f"/v1/canary/{PRODUCT}")
    if found["canary_percent"] != percent:
        return f"the canary ended the run at {found['canary_percent']} % ({found['state']})"
    return sira.cache_fault()


def _read(answer: Any) -> Scored:
    return Scored(answer["score"], answer["variant"])
