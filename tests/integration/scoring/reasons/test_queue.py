"""Reasons without being asked: after the answer, through the spool, bounded, and counted when they are missing."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from registry.artifacts import ArtifactStore
from registry.model_version import ModelVersion
from runtime import metrics
from runtime.postgres import Connection
from runtime.settings import ReasonsShare
from scoring.log.prediction import Prediction
from scoring.log.shipper import Shipper
from scoring.log.spool import Spool
from scoring.models.onnx_model import OnnxModel
from scoring.reasons.explainers import Explainers
from scoring.reasons.worker.queue import PAUSE_SECONDS, ReasonsQueue
from scoring.reasons.worker.ready import ReadyExplainers
from scoring.reasons.worker.shares import Shares
from tests.integration.scoring.reasons.conftest import Ask, Log
from tests.support.log_rows import wait_until
from tests.support.serving_room import Room, in_room
from tests.support.spooled import lines, waiting_groups
from tests.support.trained_models import Trained

ALL = Shares(ReasonsShare(None, decision, 1.0) for decision in ("allow", "review", "block"))
Make = Callable[..., ReasonsQueue]


@pytest.fixture
def spool(tmp_path: Path, database_url: str) -> Iterator[Spool]:
    """A spool that is being shipped."""
    opened = Spool.open(tmp_path / "shipped", limit_bytes=1 << 26)
    shipper = Shipper(opened, tmp_path / "shipped", database_url)
    shipper.start()
    yield opened
    shipper.stop(10)
    opened.close()


@pytest.fixture
def make(artifacts: ArtifactStore, spool: Spool, database_url: str) -> Iterator[Make]:
    queues = []

    def queue(
        shares: Shares = ALL, into: Spool = spool, served: Sequence[ModelVersion] = (), **more: Any
    ) -> ReasonsQueue:
        ready = ReadyExplainers(Explainers(artifacts), database_url, lambda: served)
        queues.append(ReasonsQueue(ready, into, shares, **more))
        return queues[-1]

    yield queue
    for one in queues:
        if one._thread.is_alive():
            one.stop(10)


@pytest.fixture
def model(add_version: Callable[..., ModelVersion], trained: Trained, tmp_path: Path) -> OnnxModel:
    path = tmp_path / "served.onnx"
    path.write_bytes(trained.model.SerializeToString())
    return OnnxModel(add_version(reference=True), path)


def offer(queue: ReasonsQueue, model: OnnxModel, rows: list[Prediction], trained: Trained) -> None:
    for row, payload in zip(rows, trained.payloads, strict=False):
        queue.offer(model.version, model.feed.row(payload), row)


def stored(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    rows = connection.execute("SELECT prediction_id::text, reasons FROM sira_prediction_reasons").fetchall()
    return dict(rows)


def dropped(reason: str) -> float:
    return float(metrics.reasons_dropped.labels("cards", reason)._value.get())


def test_what_is_stored_is_what_the_api_answers_without_the_values(
    make: Make, model: OnnxModel, trained: Trained, log: Log, ask: Ask, connection: Connection
) -> None:
    rows, queue = log(model.version, 20), make()
    offer(queue, model, rows, trained)
    queue.start()
    assert wait_until(lambda: len(stored(connection)) == 20)
    for row in rows:
        fields = ask(row.prediction_id).json()["fields"]
        assert all(field.pop("value", ...) is not ... for field in fields)
        assert stored(connection)[row.prediction_id] == fields


def test_reviews_and_blocks_are_explained_and_allowed_events_are_not(
    make: Make, model: OnnxModel, trained: Trained, tmp_path: Path
) -> None:
    shares = Shares([ReasonsShare(None, "review", 1.0), ReasonsShare(None, "block", 1.0)])

    async def scored(room: Room) -> list[Any]:
        room.serve(model)
        for number, payload in enumerate(trained.payloads[:60]):
            await room.score(event_id=str(number), **payload)
        wanted = [row for row in room.logged() if row.decision != "allow"]
        assert 0 < len(wanted) < 60
        for _ in range(300):
            if len(reasons := list(_lines(room.spool))) == len(wanted):
                break
            await asyncio.sleep(0.05)
        assert [line.split("\t")[0] for line in reasons] == [row.prediction_id for row in wanted]
        return wanted

    def started(spool: Spool) -> ReasonsQueue:
        queue = make(shares, spool)
        queue.start()
        return queue

    assert in_room(tmp_path, scored, reasons=started)


def _lines(spool: Spool) -> Iterator[str]:
    for line in lines(waiting_groups(spool.file), "reasons"):
        yield line.decode()


def test_what_arrives_between_two_pauses_is_explained_together(
    make: Make, model: OnnxModel, trained: Trained, log: Log, tmp_path: Path
) -> None:
    rows, spool = log(model.version, 300), Spool.open(tmp_path / "kept", limit_bytes=1 << 26)
    queue = make(into=spool)
    queue.ready.open(model.version)
    started = time.monotonic()
    queue.start()
    for row, payload in zip(rows, trained.payloads, strict=False):
        queue.offer(model.version, model.feed.row(payload), row)
        time.sleep(0.002)
    assert wait_until(lambda: spool.waiting_rows == 300)
    groups = [group for group in waiting_groups(spool.file) if "reasons" in group.bodies]
    assert len(groups) <= (time.monotonic() - started) / PAUSE_SECONDS + 1
    queue.stop(10)
    spool.close()


def test_a_full_queue_drops_the_oldest_and_counts_it(
    make: Make, model: OnnxModel, trained: Trained, log: Log, connection: Connection
) -> None:
    rows, queue, before = log(model.version, 7), make(max_waiting=5), dropped("queue_full")
    offer(queue, model, rows, trained)
    assert dropped("queue_full") == before + 2
    queue.start()
    assert wait_until(lambda: len(stored(connection)) == 5)
    assert stored(connection).keys() == {row.prediction_id for row in rows[2:]}


def test_an_event_that_is_answered_again_is_stored_once(
    make: Make, model: OnnxModel, trained: Trained, log: Log, connection: Connection
) -> None:
    rows, queue = log(model.version, 3), make()
    for _ in range(2):
        offer(queue, model, rows, trained)
    queue.start()
    assert wait_until(lambda: len(stored(connection)) == 3)
    offer(queue, model, rows, trained)
    (last,) = log(model.version, 1, first=3)
    queue.offer(model.version, model.feed.row(trained.payloads[3]), last)
    assert wait_until(lambda: len(stored(connection)) == 4)


def test_reasons_that_do_not_add_up_are_not_stored_and_counted(
    make: Make, model: OnnxModel, trained: Trained, log: Log, connection: Connection
) -> None:
    good, wrong = log(model.version, 2)
    assert wrong.score is not None
    before, queue = metrics.reasons_not_additive.labels("cards")._value.get(), make()
    offer(queue, model, [good, replace(wrong, score=wrong.score + 0.01)], trained)
    queue.start()
    assert wait_until(lambda: metrics.reasons_not_additive.labels("cards")._value.get() == before + 1)
    assert wait_until(lambda: stored(connection).keys() == {good.prediction_id})


def test_without_a_background_predictions_are_dropped_and_the_cause_is_logged_once(
    make: Make, add_version: Callable[..., ModelVersion], log: Log, model: OnnxModel, trained: Trained,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    version, before, queue = add_version("2"), dropped("not_available"), make()
    rows = log(version, 2)
    queue.start()
    for row in rows:
        queue.offer(version, model.feed.row(trained.payloads[0]), row)
        assert wait_until(lambda: dropped("not_available") > before)
    assert wait_until(lambda: dropped("not_available") == before + 2)
    said = [record for record in caplog.records if record.message == "reasons_not_available"]
    assert len(said) == 1
    assert "no background yet" in said[0].__dict__["reason"]


def test_a_spool_that_is_half_full_is_left_to_answers(
    make: Make, model: OnnxModel, trained: Trained, log: Log, tmp_path: Path
) -> None:
    rows, before = log(model.version, 2), dropped("spool_busy")
    small = Spool.open(tmp_path / "small", limit_bytes=1_000)
    small.append("predictions", b"x" * 600, 1, 1.0, lambda error: None)
    queue = make(into=small)
    offer(queue, model, rows, trained)
    queue.start()
    assert wait_until(lambda: dropped("spool_busy") == before + 2)
    queue.stop(10)
    small.close()


def test_on_a_database_without_the_migration_answers_are_logged_and_reasons_are_off(
    make: Make, model: OnnxModel, trained: Trained, log: Log, connection: Connection, spool: Spool
) -> None:
    rows, before, queue = log(model.version, 2), dropped("not_available"), make()
    connection.execute("DROP TABLE sira_prediction_reasons")
    offer(queue, model, rows, trained)
    queue.start()
    assert wait_until(lambda: dropped("not_available") == before + 2)
    assert spool.waiting_rows == 0


def test_what_waits_when_a_process_stops_is_explained_first(
    make: Make, model: OnnxModel, trained: Trained, log: Log, connection: Connection
) -> None:
    rows, queue = log(model.version, 200), make()
    queue.start()
    offer(queue, model, rows, trained)
    queue.stop(10)
    assert wait_until(lambda: len(stored(connection)) == 200)


def test_what_cannot_be_explained_in_time_is_counted(
    make: Make, model: OnnxModel, trained: Trained, log: Log, connection: Connection
) -> None:
    rows, before, queue = log(model.version, 3), dropped("stopped"), make()
    queue.start()
    offer(queue, model, rows, trained)
    queue.stop(0)
    assert dropped("stopped") == before + 3
