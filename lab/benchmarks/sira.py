"""This service as a contender: alone, with a canary, and with Postgres on the same disk."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lab.benchmarks.contender import EVENT, Contender, Running, Scored, Wire
from lab.benchmarks.deployment import BenchDeployment, Seed, seed_nothing, serving
from lab.benchmarks.model import PRODUCT, Row, Workload
from lab.errors import ProcessFailed
from lab.product import NO_SETTINGS, Settings
from registry.model_version import ModelVersion
from runtime.postgres import Connection

# Reasons of reviews and blocks are on by default.
NO_REASONS = {"REASONS_SHARE": ""}


def contenders() -> list[Contender]:
    wire, no_profile = Wire(EVENT.head, EVENT.tail, _read), partial(_start, seed=_without_profile)
    return [
        Contender("sira", "**this service**, everything on", wire, _start),
        Contender("sira_canary", "**this service**, canary at 10 %", wire, partial(_start, canary_percent=10)),
        Contender("sira_no_reasons", "**this service**, without reasons", wire, partial(_start, settings=NO_REASONS)),
        Contender("sira_no_profile", "**this service**, without the input profile", wire, no_profile),
        Contender("sira_one_disk", "**this service**, Postgres on its disk", wire, partial(_start, one_disk=True)),
    ]


@contextmanager
def _start(
    workload: Workload,
    folder: Path,
    *,
    canary_percent: int = 0,
    one_disk: bool = False,
    settings: Settings = NO_SETTINGS,
    seed: Seed = seed_nothing,
) -> Iterator[Running]:
    with serving(workload, folder, one_disk=one_disk, settings=settings, seed=seed) as deployment:
        if not canary_percent:
            yield deployment.running()
            return
        body = {"product": PRODUCT, "canary_percent": canary_percent, "canary_model_id": deployment.models["canary"]}
        deployment.operator.post("/v1/canary", body)
        _await_canary(deployment, workload.payloads[0])
        yield replace(deployment.running(), fault=partial(_canary_fault, deployment, canary_percent))


def _without_profile(connection: Connection, production: ModelVersion) -> None:
    """Drop what migration 005 made: the controller then counts nothing, as before that migration."""
    connection.execute("DROP TABLE sira_input_profiles")


def _await_canary(deployment: BenchDeployment, payload: Row) -> None:
    """Return at the first answer of the canary: then the worker has loaded it."""
    for attempt in range(1000):
        if deployment.infer(f"await-{attempt}", payload)["variant"] == "canary":
            return
        time.sleep(0.02)
    raise ProcessFailed("sira_canary", "gives no answer by the canary", deployment.process.log)


def _canary_fault(deployment: BenchDeployment, percent: int) -> str | None:
    """Return why the figures do not count: a canary that was rolled back during the rounds was not measured."""
    found = deployment.operator.get(f"/v1/canary/{PRODUCT}")
    if found["canary_percent"] != percent:
        return f"the canary ended the run at {found['canary_percent']} % ({found['state']})"
    return deployment.cache_fault()


def _read(answer: Any) -> Scored:
    return Scored(answer["score"], answer["variant"])
