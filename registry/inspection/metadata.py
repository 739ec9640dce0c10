"""What a model file's metadata says that its graph does not; every `sira.*` key is read here and nowhere else.

sira.features    ["a", "b"]                    names of a tensor's columns, in order (or "a,b")
sira.signature   {"fields": {"a": {"nullable": true, "default": 0}}}
sira.rename      {"Amount (EUR)": "Amount__EUR_"}   payload field: the model's own name for it
sira.thresholds  {"review": 0.5, "block": 0.9}
sira.positive    the class label that means fraud, if it is not 1 and its name does not say so
sira.reasons     [{"field": "a", "direction": "raises", "code": "R07", "sentence": "more attempts than usual"}]
sira.output      the output that holds the probability, if there is more than one
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from registry.reason_codes import ReasonCode, read_codes
from registry.signature import Value

_FIELD_RULES = 'sira.signature must be {"fields": {NAME: {"nullable": true or false, "default": a value}}}'


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Facts about a model, from its file or from the caller who registers it.

    `nullable` and `defaults` name payload fields. `rename` maps a payload field to the model's name for it.
    `thresholds` holds `review`, `block` or both, as they were written. `reasons` are reason codes; None says nothing.
    """

    features: tuple[str, ...] | None = None
    positive: str | None = None
    output: str | None = None
    nullable: tuple[str, ...] | Literal["all"] = ()
    defaults: dict[str, Value] = field(default_factory=dict)
    rename: dict[str, str] = field(default_factory=dict)
    thresholds: dict[str, Any] = field(default_factory=dict)
    reasons: tuple[ReasonCode, ...] | None = None

    def over(self, other: "ModelMetadata") -> "ModelMetadata":
        """Return these facts, completed by those of `other`; where both say something, these win."""
        everything = "all" in (self.nullable, other.nullable)
        return ModelMetadata(
            features=other.features if self.features is None else self.features,
            positive=other.positive if self.positive is None else self.positive,
            output=other.output if self.output is None else self.output,
            nullable="all" if everything else tuple(dict.fromkeys([*self.nullable, *other.nullable])),
            defaults={**other.defaults, **self.defaults},
            rename={**other.rename, **self.rename},
            thresholds={**other.thresholds, **self.thresholds},
            reasons=other.reasons if self.reasons is None else self.reasons,
        )


def read_metadata(entries: Mapping[str, str]) -> tuple[ModelMetadata, list[str]]:
    """Return what a file's metadata entries say, and every fault in them."""
    faults: list[str] = []
    nullable, defaults = _field_rules(entries, faults)
    return ModelMetadata(
        features=_features(entries, faults),
        positive=entries.get("sira.positive"),
        output=entries.get("sira.output"),
        nullable=nullable,
        defaults=defaults,
        rename=_rename(entries, faults),
        thresholds=_thresholds(entries, faults),
        reasons=_reasons(entries, faults),
    ), faults


def _features(entries: Mapping[str, str], faults: list[str]) -> tuple[str, ...] | None:
    text = entries.get("sira.features")
    if text is None:
        return None
    if not text.lstrip().startswith("["):
        return tuple(name.strip() for name in text.split(","))
    names = _json(text)
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    faults.append("sira.features must be a JSON list of names")
    return None


def _field_rules(entries: Mapping[str, str], faults: list[str]) -> tuple[tuple[str, ...], dict[str, Value]]:
    if "sira.signature" not in entries:
        return (), {}
    written = _json(entries["sira.signature"])
    rules = written.get("fields") if isinstance(written, dict) else None
    if not isinstance(rules, dict) or not all(_is_rule(rule) for rule in rules.values()):
        faults.append(_FIELD_RULES)
        return (), {}
    nullable = tuple(name for name, rule in rules.items() if rule.get("nullable"))
    return nullable, {name: rule["default"] for name, rule in rules.items() if rule.get("default") is not None}


def _is_rule(rule: object) -> bool:
    return (
        isinstance(rule, dict)
        and set(rule) <= {"nullable", "default"}
        and isinstance(rule.get("nullable", False), bool)
        and isinstance(rule.get("default"), bool | int | float | str | None)
    )


def _rename(entries: Mapping[str, str], faults: list[str]) -> dict[str, str]:
    if "sira.rename" not in entries:
        return {}
    names = _json(entries["sira.rename"])
    if isinstance(names, dict) and all(isinstance(name, str) for name in names.values()):
        return names
    faults.append('sira.rename must be {FIELD: MODEL_NAME}, such as {"Amount (EUR)": "Amount__EUR_"}')
    return {}


def _thresholds(entries: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    if "sira.thresholds" not in entries:
        return {}
    values = _json(entries["sira.thresholds"])
    if isinstance(values, dict) and set(values) <= {"review", "block"}:
        return values
    faults.append('sira.thresholds must be {"review": 0.5, "block": 0.9}')
    return {}


def _reasons(entries: Mapping[str, str], faults: list[str]) -> tuple[ReasonCode, ...] | None:
    if "sira.reasons" not in entries:
        return None
    codes, found = read_codes(_json(entries["sira.reasons"]))
    faults += [f"sira.reasons: {fault}" for fault in found]
    return codes


def _json(text: str) -> Any:
    """Return the value, or None for text that is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
