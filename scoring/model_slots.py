"""The serving snapshot: which models answer which product, and how traffic is split. One swap changes all of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from canary.split import Split
from scoring.onnx_model import OnnxModel


@dataclass(frozen=True, slots=True)
class Rollout:
    """A running rollout as a worker needs it.

    `split.percent` is the share of keys the canary answers; with 0, `shadow` is the share it scores off the path.
    `timeout_seconds` is the canary's budget before production answers instead.
    """

    rollout_id: str
    phase: int
    split: Split
    shadow: Split
    timeout_seconds: float
    canary: OnnxModel
    same_fields: bool  # the canary reads a payload just as production does


@dataclass(frozen=True, slots=True)
class ProductSlot:
    product: str
    production: OnnxModel
    rollout: Rollout | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is served.

    `waiting`: products whose production model has never been loaded here, with the reason.
    `faults`: products that serve, but not what the registry says (the old model serves on), with the reason.
    `synced`: as the registry says; False before it has been read, even when what was served last serves.
    """

    products: Mapping[str, ProductSlot] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    synced: bool = False


class ModelSlots:
    """Holds the current snapshot. A request reads it once and keeps it to its end: it never sees half a change."""

    def __init__(self) -> None:
        self._current = Snapshot()

    def current(self) -> Snapshot:
        return self._current

    def swap(self, snapshot: Snapshot) -> None:
        self._current = snapshot
