"""Metrics of the latest tick. Only the controller with the lease sets them; those of ended canaries are cleared."""

from canary.controller.store import Judgement
from canary.judge.verdict import Verdict
from canary.rollout.next_action import RollBack
from runtime import metrics

VERDICTS = ("continue", "hold", "advance", "rollback")


class Gauges:
    def __init__(self) -> None:
        self._shown: set[str] = set()

    def publish(self, judgements: list[Judgement] | None) -> None:
        """Publish the judgements of a tick; None when another controller has the lease."""
        shown: set[str] = set()
        for judgement in judgements or ():
            product = judgement.rollout.product
            if isinstance(judgement.action, RollBack):
                for rule in _rules(judgement.verdict):
                    metrics.canary_rollbacks.labels(product, rule).inc()
            if judgement.rollout.live:
                shown.add(product)
                _show(product, judgement.verdict)
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
    """Return the rules that asked for the rollback, without names of metrics: a closed set of label values."""
    return [m.name.partition(":")[0] for m in verdict.measurements if m.outcome == "rollback"]
