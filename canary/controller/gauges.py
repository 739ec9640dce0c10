"""What a tick did, as metrics. Only the controller that judges shows figures; those of an ended canary go."""

from canary.controller.tick import Judged
from canary.judge.verdict import Verdict
from canary.rollout.next_action import RollBack
from runtime import metrics

VERDICTS = ("continue", "hold", "advance", "rollback")


class Gauges:
    def __init__(self) -> None:
        self._shown: set[str] = set()

    def publish(self, judged: list[Judged] | None) -> None:
        """`judged` as `tick` returns it."""
        shown: set[str] = set()
        for outcome in judged or ():
            product = outcome.rollout.product
            if outcome.verdict and isinstance(outcome.action, RollBack):
                for rule in _rules(outcome.verdict):
                    metrics.canary_rollbacks.labels(product, rule).inc()
            if outcome.verdict and outcome.rollout.live:
                shown.add(product)
                _show(product, outcome.verdict)
        for product in self._shown - shown:
            _clear(product)
        self._shown = shown


def _show(product: str, verdict: Verdict) -> None:
    for kind in VERDICTS:
        metrics.canary_verdict.labels(product, kind).set(kind == verdict.kind)
    metrics.canary_last_verdict.labels(product).set_to_current_time()
    for measurement in verdict.measurements:
        if measurement.name == "score_psi" and measurement.value is not None:
            metrics.score_psi.labels(product, "canary").set(measurement.value)


def _clear(product: str) -> None:
    for kind in VERDICTS:
        metrics.canary_verdict.labels(product, kind).set(0)
    metrics.score_psi.labels(product, "canary").set(0)


def _rules(verdict: Verdict) -> list[str]:
    """The rules that asked for the rollback, one word each: a closed set of label values."""
    return [m.name.partition(":")[0] for m in verdict.measurements if m.outcome == "rollback"]
