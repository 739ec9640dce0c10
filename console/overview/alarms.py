"""What is wrong, most urgent first, each with its section of docs/operations.md. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from console.overview.store import Facts, RolloutRow
from console.words import ago, duration

Level = Literal["bad", "warn"]

# A controller that has judged nothing for longer is not running, or cannot reach Postgres.
MAX_SILENCE = timedelta(seconds=60)
RUNBOOK = "https://git.molam.com/sira-inference/blob/main/docs/operations.md"


@dataclass(frozen=True, slots=True)
class Alarm:
    """`alert`: the alert whose section of docs/operations.md says what to do. `product` is empty for the whole."""

    level: Level
    alert: str
    product: str
    text: str

    @property
    def runbook(self) -> str:
        return f"{RUNBOOK}#{self.alert.lower()}"


def alarms(facts: Facts, firing: Sequence[tuple[str, str]], now: datetime) -> list[Alarm]:
    """Return what is wrong. `firing`: critical alerts of Alertmanager as (name, product)."""
    found = [Alarm("bad", name, product, f"{name} is firing in Alertmanager") for name, product in firing]
    found += [*_of_controller(facts, now), *_of_products(facts), *_of_rollouts(facts, now)]
    return sorted(found, key=lambda alarm: (alarm.level != "bad", alarm.product, alarm.alert))


def _of_controller(facts: Facts, now: datetime) -> Iterator[Alarm]:
    if facts.judged_at is None:
        yield Alarm("bad", "SiraControllerDown", "", "no controller has judged yet")
    elif now - facts.judged_at > MAX_SILENCE:
        silence = duration(now - facts.judged_at)
        yield Alarm("bad", "SiraControllerDown", "", f"no controller has judged for {silence}: canaries are unwatched")


def _of_products(facts: Facts) -> Iterator[Alarm]:
    for row in facts.products:
        if row.model_id is None:
            yield Alarm("bad", "SiraNoProductionModel", row.product, "no version is in production: events get a 404")
    for product in facts.tripped:
        yield Alarm("bad", "SiraBreakerTripped", product, "the breaker has tripped: blocks are answered as reviews")
    for product, decisions in facts.guards.items():
        if "block" in decisions:
            yield Alarm("bad", "SiraBlockRateJump", product, "production blocks far more than in the last week")
        if "review" in decisions:
            yield Alarm("warn", "SiraReviewRateJump", product, "production reviews far more than in the last week")


def _of_rollouts(facts: Facts, now: datetime) -> Iterator[Alarm]:
    for rollout in facts.rollouts:
        if rollout.status == "rolled_back":
            why = f": {rollout.reasons[0]}" if rollout.reasons else ""
            text = f"the canary {rollout.canary} was rolled back {ago(rollout.ended_at, now)}{why}"
            yield Alarm("warn", "SiraCanaryRolledBack", rollout.product, text)
        elif rollout.verdict == "hold" and rollout.status == "running":
            yield Alarm("warn", "SiraCanaryOnHold", rollout.product, f"the canary is on hold: {_first(rollout)}")
        if rollout.live and rollout.judged_at and now - rollout.judged_at > MAX_SILENCE:
            text = f"the canary was last judged {ago(rollout.judged_at, now)}"
            yield Alarm("bad", "SiraCanaryUnjudged", rollout.product, text)


def _first(rollout: RolloutRow) -> str:
    return rollout.reasons[0] if rollout.reasons else "no reason is recorded"
