"""What the two processes report as wrong with a product, from their metrics: the input of the alerts."""

from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_FIELD = {"missing": "SiraFieldMissing", "unseen": "SiraFieldMissing", "drift": "SiraFieldDrift"}
_SHARE = {"block": "SiraBlockRateJump", "review": "SiraReviewRateJump"}


class Alarm(NamedTuple):
    """An alert of k8s/monitoring/alerts.yaml whose condition is met, and of what: a field, a decision, a rule."""

    alert: str
    what: str


ON_HOLD = Alarm("SiraCanaryOnHold", "")


def firing(exposition: str, product: str) -> set[Alarm]:
    """Return the conditions that a process reports as met; `exposition` is what its /metrics answers."""
    found = set()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.labels.get("product") == product and (alarm := _alarm(sample.name, sample.labels, sample.value)):
                found.add(alarm)
    return found


def _alarm(name: str, labels: dict[str, str], value: float) -> Alarm | None:
    if not value > 0:
        return None
    if name == "sira_field_alarm":
        return Alarm(_FIELD[labels["alarm"]], f"{labels['field']}: {labels['alarm']}")
    if name == "sira_decision_guard":
        return Alarm(_SHARE[labels["decision"]], labels["decision"])
    if name == "sira_breaker_tripped":
        return Alarm("SiraBreakerTripped", "block")
    if name == "sira_canary_rollbacks_total":
        return Alarm("SiraCanaryRolledBack", labels["reason"])
    if name == "sira_canary_verdict" and labels["verdict"] == "hold":
        return ON_HOLD
    return None
