"""The result of one rule: a figure, its limit, and a sentence that a person can act on."""

from math import exp
from typing import Literal

import msgspec

from canary.judge.sequential import FloatArray

_MAX_LOG = 690.0  # e to this is still a float

RuleOutcome = Literal["pass", "rollback", "hold", "unknown"]


class Measurement(msgspec.Struct, frozen=True):
    """The result of one rule. `unknown`: too little evidence; it only stops an advance, and only if `required`.

    value:    the effect in `unit`; None without data, and for a ratio to zero.
    evidence: an e-value, if the rule has one: the rule acts from `evidence_limit` on, however often it is evaluated.
    """

    name: str
    outcome: RuleOutcome
    reason: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    evidence: float | None = None
    evidence_limit: float | None = None
    required: bool = True


def e_value(log_evidence: FloatArray) -> float:
    """Return E from its logarithm, at most 1e299 so that it stays a number in JSON."""
    return exp(min(float(log_evidence), _MAX_LOG))


def evidence_text(evidence: float, needed: float) -> str:
    return f"evidence {evidence:.3g} of the {needed:g} a rollback needs"
