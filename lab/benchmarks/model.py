"""The models and payloads that every contender gets: the demo's, cached in lab/benchmarks/.data."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from lab.demo.recipes import PRODUCT as PRODUCT
from lab.demo.recipes import RECIPES
from lab.demo.train import train
from lab.demo.transactions import transactions

PAYLOADS = 60_000  # distinct; three times the service's default cache, so that a cycle through them never hits it
RECIPE = RECIPES[-1]

Row = dict[str, str | float]


@dataclass(frozen=True)
class Workload:
    """`models` by variant: every contender serves production; canary is a second model of the same size."""

    models: Mapping[str, Path]
    payloads: tuple[Row, ...]

    @property
    def model_path(self) -> Path:
        return self.models["production"]


def prepare(data: Path) -> Workload:
    """Train on the first call, which takes half a minute; later calls read the cache."""
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    recipes = {"production": RECIPE, "canary": replace(RECIPE, version="canary", seed=RECIPE.seed + 100)}
    models = {variant: data / f"{variant}-{RECIPE.trees}.onnx" for variant in recipes}
    for variant, path in models.items():
        if not path.exists():
            _write(path, train(recipes[variant]).onnx)
    payloads_path = data / f"payloads-{PAYLOADS}.jsonl"
    if not payloads_path.exists():
        payments = transactions(PAYLOADS * 11 // 10, seed=113).payloads()
        _write(payloads_path, "\n".join(islice(_distinct(payments), PAYLOADS)).encode())
    with payloads_path.open() as file:
        return Workload(models, tuple(json.loads(line) for line in file))


def _distinct(payments: Iterable[Row]) -> Iterator[str]:
    return iter(dict.fromkeys(json.dumps(payment, separators=(",", ":")) for payment in payments))


def _write(path: Path, content: bytes) -> None:
    """Write the file completely or not at all: the next run would trust a partial cache."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
