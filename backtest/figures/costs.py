"""What decisions cost: an amount per event and a share of its amount, for each decision and label."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from backtest.errors import CostsInvalid
from registry import printable
from runtime.reading import MAX_VIOLATIONS, InputInvalid, closest_names, read
from scoring.decision import DECISIONS, Decision

_NAMES = tuple(f"{label}_{decision}" for label in ("fraud", "legitimate") for decision in get_args(Decision))


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    per_event: float = 0.0
    share_of_amount: float = 0.0


class CostTable(msgspec.Struct, frozen=True):
    """`costs` by label and decision, such as fraud_allow; what is absent costs nothing."""

    costs: dict[str, Cost]

    @classmethod
    def read(cls, value: object) -> "CostTable":
        """Read `{"fraud_allow": {"share_of_amount": 1, "per_event": 15}, ...}`; raises CostsInvalid."""
        if not isinstance(value, dict) or not value:
            raise CostsInvalid([f"must be an object with some of {', '.join(_NAMES)}"])
        faults, costs = [], {}
        for name, given in value.items():
            if name not in _NAMES:
                faults.append(f"{printable(name)}: no such name; {_meant(name)}")
                continue
            try:
                costs[name] = read(Cost, given)
            except InputInvalid as invalid:
                faults += [f"{name}{violation.pointer}: {violation.detail}" for violation in invalid.violations]
        if faults:
            raise CostsInvalid(faults[:MAX_VIOLATIONS])
        return cls(costs)

    def of(self, events: Mapping[tuple[str, str], int], amounts: Mapping[tuple[str, str], float]) -> float:
        """Return the cost of events and amounts by label and decision."""
        total = 0.0
        for label in ("fraud", "legitimate"):
            for decision in DECISIONS:
                cost = self.costs.get(f"{label}_{decision}")
                if cost:
                    key = (label, decision)
                    total += cost.per_event * events[key] + cost.share_of_amount * amounts[key]
        return total


def _meant(name: str) -> str:
    meant = closest_names(name, _NAMES)
    return f"did you mean {' or '.join(meant)}?" if meant else f"known are {', '.join(_NAMES)}"


def read_costs(value: Any) -> CostTable | None:
    return None if value is None else CostTable.read(value)
