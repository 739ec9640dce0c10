"""How two versions differ, and what a change of status does. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.model_version import ALLOWED_CHANGES, ModelVersion, Status
from registry.signature import Field

# What a person changes here. A canary begins with a rollout.
TARGETS = (Status.PRODUCTION, Status.STAGING, Status.ARCHIVED)
LABELS: Mapping[Status, str] = {
    Status.PRODUCTION: "Promote to production",
    Status.STAGING: "Back to staging",
    Status.ARCHIVED: "Archive",
}


@dataclass(frozen=True, slots=True)
class ComparedLine:
    """One property of two versions, in words."""

    name: str
    first: str
    second: str

    @property
    def differs(self) -> bool:
        return self.first != self.second


def targets(version: ModelVersion) -> list[Status]:
    """Return the statuses that a person may give to a version now."""
    return [target for target in TARGETS if target in ALLOWED_CHANGES[version.status]]


def consequences(version: ModelVersion, target: Status, current: ModelVersion | None) -> list[str]:
    """Return what a change of status will do, in sentences. `current` is the product's production version."""
    if target is Status.PRODUCTION:
        found = [f"It answers every event of {version.product} within about a second, without a canary before it."]
        if current is not None:
            name = f"{current.name} {current.version}"
            found.append(f"{name} is retired in the same transaction. Promoting it again is the way back.")
        return found
    if target is Status.ARCHIVED:
        return ["It can never serve again. This is final: to use the model once more, register a new version."]
    return ["It receives no traffic, and may be rolled out or promoted again."]


def compare(first: ModelVersion, second: ModelVersion) -> list[ComparedLine]:
    return [
        ComparedLine(name, one, other)
        for (name, one), (_, other) in zip(_properties(first), _properties(second), strict=True)
    ]


def compare_fields(first: ModelVersion, second: ModelVersion) -> list[ComparedLine]:
    """Return every payload field of either version with its type in both."""
    ours = {field.name: field_text(field) for field in first.signature.fields}
    theirs = {field.name: field_text(field) for field in second.signature.fields}
    return [ComparedLine(name, ours.get(name, "–"), theirs.get(name, "–")) for name in {**ours, **theirs}]


def field_text(field: Field) -> str:
    parts = [str(field.kind)]
    if field.nullable:
        parts.append("nullable")
    if field.default is not None:
        parts.append(f"default {field.default}")
    return ", ".join(parts)


def _properties(version: ModelVersion) -> Iterator[tuple[str, str]]:
    yield "status", version.status
    yield "review from", f"{version.thresholds.review:g}"
    yield "block from", f"{version.thresholds.block:g}"
    yield "fields", str(len(version.signature.fields))
    yield "layout", version.signature.layout
    yield "output", f"{version.signature.output_name} ({version.signature.output_layout})"
    yield "size", f"{version.size_bytes:,} bytes"
    yield "artifact", version.sha256
    yield "reference rows", reference_text(version)
    yield "registered by", version.created_by


def reference_text(version: ModelVersion) -> str:
    """Return the result of the reference check in words."""
    checked = version.reference
    if checked is None:
        return "not checked"
    return f"{checked.rows:,} rows, largest difference {checked.max_difference:.3g} of {checked.tolerance:g} allowed"
