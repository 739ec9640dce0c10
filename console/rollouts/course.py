"""The verdicts of a rollout, read. The caller owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from canary.judge.measurement import Measurement
from console.kept import KeptFacts
from console.rollouts.store import QUERIES
from runtime.postgres import Connection

# Verdicts that a page draws: more would not be visible.
MAX_POINTS = 160
# About 8 KB each.
MAX_KEPT_VERDICTS = 4_000

_REASONS = msgspec.json.Decoder(tuple[str, ...])
_MEASUREMENTS = msgspec.json.Decoder(tuple[Measurement, ...])


@dataclass(frozen=True, slots=True)
class JudgedMoment:
    """One verdict of the course of a rollout."""

    judged_at: datetime
    phase: int
    verdict: str
    action: str
    reasons: tuple[str, ...]
    measurements: tuple[Measurement, ...]


VerdictKey = tuple[str, int]
"""A rollout_id and the tick of one of its verdicts."""

KeptVerdicts = KeptFacts[VerdictKey, JudgedMoment]


def verdict_course(connection: Connection, rollout_id: str, kept: KeptVerdicts) -> list[JudgedMoment]:
    """Return at most MAX_POINTS verdicts, evenly chosen, oldest first; the newest is among them.

    A verdict never changes, so that only those are read which are not kept.
    """
    values = {"rollout_id": rollout_id, "points": MAX_POINTS}
    keys = [(rollout_id, tick) for (tick,) in connection.execute(QUERIES["verdict_ticks"], values)]
    known = kept.known(keys)
    if missing := [key for key in keys if key not in known]:
        read = _verdicts(connection, rollout_id, [tick for _, tick in missing])
        kept.keep(read)
        known |= read
    return [known[key] for key in keys]


def _verdicts(connection: Connection, rollout_id: str, ticks: Sequence[int]) -> dict[VerdictKey, JudgedMoment]:
    rows = connection.execute(QUERIES["verdicts"], {"rollout_id": rollout_id, "ticks": ticks}).fetchall()
    return {
        (rollout_id, tick): JudgedMoment(
            judged_at, phase, verdict, action, _REASONS.decode(reasons), _MEASUREMENTS.decode(measurements)
        )
        for tick, judged_at, phase, verdict, action, reasons, measurements in rows
    }
