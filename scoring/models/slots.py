"""The serving snapshot: which models serve which product, and how traffic is split. One swap changes all of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from canary.split import Split
from scoring.models.control_slots import ServedControlGroup
from scoring.models.onnx_model import OnnxModel


@dataclass(frozen=True, slots=True)
class ServedRollout:
    """A running rollout as a worker needs it.

    `split.percent` is the share of keys that the canary answers. At 0, `shadow` is the share that it scores after the
    answer. `timeout_seconds` is the canary's budget before production answers instead.
    """

    rollout_id: str
    phase: int
    split: Split
    shadow: Split
    timeout_seconds: float
    canary: OnnxModel
    same_fields: bool  # the canary reads a payload exactly as production does


@dataclass(frozen=True, slots=True)
class ProductSlot:
    """The models that serve one product. `breaker`: answer review instead of block. `control`: let some blocks pass."""

    product: str
    production: OnnxModel
    rollout: ServedRollout | None = None
    breaker: bool = False
    control: ServedControlGroup | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The models and splits that this process serves.

    `waiting`: products whose production model has never been loaded here, with the reason.
    `faults`: products that still serve an older model than the registry says, with the reason.
    `synced`: whether this follows from the registry; False while models are restored from the local record.
    """

    products: Mapping[str, ProductSlot] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    synced: bool = False


class ModelSlots:
    """Holds the current snapshot. A request reads it once, so that it never sees half of a change."""

    def __init__(self) -> None:
        self._current = Snapshot()

    def current(self) -> Snapshot:
        return self._current

    def swap(self, snapshot: Snapshot) -> None:
        self._current = snapshot
