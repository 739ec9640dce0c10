"""What decisions cost: an amount per event and a share of its amount, for each decision and label."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from backtest.errors import CostsInvalid
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
                faults.append(f"unknown name; known are {', '.join(_NAMES)}")
                continue
            try:
                costs[name] = msgspec.convert(given, Cost)
            except msgspec.ValidationError as invalid:
                faults.append(f"{name}: {invalid}")
        if faults:
            raise CostsInvalid(list(dict.fromkeys(faults)))
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


def read_costs(value: Any) -> CostTable | None:
    return None if value is None else CostTable.read(value)
