"""The one function that every source and every engine runs: batches of logged events in, batches of sums out."""

from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.candidate import Candidate
from backtest.fields import EventFields
from backtest.tally.counting import Counter, Replayed
from backtest.tally.flips import MAX_FLIPS, ReplayedFlip, largest
from backtest.tally.labels import UNLABELLED as NO_LABEL
from backtest.tally.labels import LabelIndex
from backtest.tally.layout import AFTER, BATCH_ROWS, LABELS, NOT_MATURED, NOT_SCORED, UNLABELLED, edges_of
from registry.columns import ReadEvents
from registry.model_version import Thresholds
from registry.signature import Signature
from scoring.decision import DECISIONS, decide_all

# The columns of a batch; those of payload fields may follow, each named FIELD_PREFIX and the field's name.
EVENT_COLUMNS = ("prediction_id", "created_at", "event_id", "payload", "model_id", "score", "decision", "propensity")
FIELD_PREFIX = "field_"
# Sums are passed on this often, so that a progress bar moves.
_ROWS_PER_SUMS = 131_072
_DECISIONS = pa.array(DECISIONS)


@dataclass(frozen=True)
class ReplayTask:
    """What a process needs to replay events; it can be pickled. `label_keys`: an array, or an .npy file of it.

    `matured_before`: microseconds since 1970; labels of later events do not count.
    """

    signature: Signature
    thresholds: Thresholds
    model_id: str
    production_model_id: str | None
    artifact: Path | bytes
    label_keys: Any
    matured_before: int
    amount_field: str = "amount"
    segments: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns that a source should read, where it has them."""
        names = dict.fromkeys([*(f.name for f in self.signature.fields), self.amount_field, *self.segments])
        return [*EVENT_COLUMNS, *(FIELD_PREFIX + name for name in names)]


def replay(task: ReplayTask, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield sums of all events, in rows of SCHEMA; raises TooManyValues and what opening a model raises."""
    replayer = _Replayer(task)
    waiting = 0
    for whole in batches:
        for start in range(0, whole.num_rows, BATCH_ROWS):
            batch = whole.slice(start, BATCH_ROWS)
            replayer.add(batch)
            waiting += batch.num_rows
            if waiting >= _ROWS_PER_SUMS or replayer.counter.full:
                yield replayer.counter.take().to_batch()
                waiting = 0
    if waiting:
        yield replayer.counter.take().to_batch()


class _Replayer:
    def __init__(self, task: ReplayTask) -> None:
        self._task = task
        self._candidate = Candidate(task.signature, task.thresholds, task.artifact)
        keys = np.load(task.label_keys, mmap_mode="r") if isinstance(task.label_keys, Path) else task.label_keys
        self._labels = LabelIndex(keys)
        self.counter = Counter(edges_of(task.thresholds))

    def add(self, batch: pa.RecordBatch) -> None:
        batch = batch.filter(pc.is_valid(batch["decision"]))
        if not batch.num_rows:
            return
        columns = {
            name.removeprefix(FIELD_PREFIX): batch[name] for name in batch.schema.names if name.startswith(FIELD_PREFIX)
        }
        read = self._candidate.read(batch["payload"], columns)
        score_after = np.full(batch.num_rows, np.nan)
        if read.fitting.any():
            score_after[read.fitting] = self._candidate.score(read.inputs, int(read.fitting.sum()))
        replayed = self._replayed(batch, columns, score_after)
        self.counter.add(replayed)
        self._add_refusals(read, replayed)
        self._add_flips(batch, replayed)

    def _replayed(self, batch: pa.RecordBatch, columns: Mapping[str, pa.Array], score_after: Any) -> Replayed:
        task = self._task
        scored = ~np.isnan(score_after)
        after = np.full(batch.num_rows, NOT_SCORED, np.int8)
        after[scored] = decide_all(score_after[scored], task.thresholds)
        label = self._labels.of(_plain(batch["event_id"]))
        label[label == NO_LABEL] = UNLABELLED
        label[batch["created_at"].cast(pa.int64()).to_numpy() >= task.matured_before] = NOT_MATURED
        fields = EventFields(batch["payload"], columns)
        return Replayed(
            before=pc.index_in(_plain(batch["decision"]), _DECISIONS).to_numpy(),
            after=after,
            label=label,
            amount=fields.numbers(task.amount_field),
            score_before=batch["score"].to_numpy(),
            score_after=score_after,
            same_version=_equal(batch["model_id"], task.model_id),
            propensity=_propensities(batch),
            by_production=_equal(batch["model_id"], task.production_model_id or ""),
            segments={name: fields.segment(name) for name in task.segments},
        )

    def _add_refusals(self, read: ReadEvents, replayed: Replayed) -> None:
        found = Tally(f"{v.pointer} {v.detail}" for violations in read.refused.values() for v in violations)
        failed = int((replayed.after == NOT_SCORED).sum()) - len(read.refused)
        if failed:
            found["the model raised, or gave no probability"] = failed
        for reason, events in found.items():
            self.counter.sums.refusals[reason] = self.counter.sums.refusals.get(reason, 0) + events

    def _add_flips(self, batch: pa.RecordBatch, replayed: Replayed) -> None:
        flipped = np.flatnonzero((replayed.before != replayed.after) & (replayed.after != NOT_SCORED))
        amounts = np.nan_to_num(replayed.amount[flipped], nan=0.0)
        known = self.counter.sums.flips
        least = known[-1].amount if len(known) == MAX_FLIPS else -np.inf
        flipped, amounts = flipped[amounts >= least], amounts[amounts >= least]
        if len(flipped) > MAX_FLIPS:
            threshold = np.partition(amounts, -MAX_FLIPS)[-MAX_FLIPS]
            flipped, amounts = flipped[amounts >= threshold], amounts[amounts >= threshold]
        if not len(flipped):
            return
        rows = batch.select(["prediction_id", "event_id", "created_at"]).take(pa.array(flipped)).to_pydict()
        found = [
            ReplayedFlip(
                amount=float(amounts[i]),
                prediction_id=str(rows["prediction_id"][i]),
                event_id=rows["event_id"][i],
                created_at=_utc(rows["created_at"][i]),
                before=DECISIONS[replayed.before[place]],
                after=AFTER[replayed.after[place]],
                score_before=float(replayed.score_before[place]),
                score_after=float(replayed.score_after[place]),
                label=LABELS[replayed.label[place]] if replayed.label[place] < UNLABELLED else None,
            )
            for i, place in enumerate(flipped.tolist())
        ]
        self.counter.sums.flips = largest([*known, *found])


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _equal(column: pa.Array, text: str) -> Any:
    return pc.fill_null(pc.equal(_plain(column), text), False).to_numpy(zero_copy_only=False)


def _propensities(batch: pa.RecordBatch) -> Any:
    """Return NaN for events without one, and for all of a part from before there were control groups."""
    if "propensity" not in batch.schema.names:
        return np.full(batch.num_rows, np.nan)
    return batch["propensity"].cast(pa.float64()).to_numpy(zero_copy_only=False)


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
