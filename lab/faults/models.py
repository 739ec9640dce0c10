"""The models of a run: two sound versions trained once, and one that passes every check and then raises."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lab.demo.faulty_models import throws_on_unknown
from lab.demo.recipes import Recipe
from lab.demo.transactions import transactions

PRODUCT = "fraud_score"
RECIPES = (
    Recipe("1", trees=40, depth=3, learning_rate=0.1, rows=6_000, seed=11),
    Recipe("2", trees=60, depth=4, learning_rate=0.1, rows=6_000, seed=22),
)
# A quarter of the payments. The model that throws does not know it.
UNKNOWN_CATEGORY, KNOWN_CATEGORY = "wallet", "card"


@dataclass(frozen=True)
class Models:
    """Files by version: "1" is production first, "2" is staged, "3" equals "1"; "throws" fails some of its events."""

    paths: dict[str, Path]

    def by_digest(self) -> dict[str, Path]:
        return {sha256(path.read_bytes()).hexdigest(): path for path in self.paths.values()}


def make_models(folder: Path) -> Models:
    """Train the models and write them, in a few seconds."""
    # Imported here because it takes seconds.
    from lab.demo.train import train

    first, second = (train(recipe).onnx for recipe in RECIPES)
    throws = throws_on_unknown(second, KNOWN_CATEGORY, forget={UNKNOWN_CATEGORY})
    artifacts = {"1": first, "2": second, "3": first, "throws": throws}
    paths = {}
    for version, artifact in artifacts.items():
        paths[version] = folder / f"{version}.onnx"
        paths[version].write_bytes(artifact)
    return Models(paths)


def payloads(count: int) -> list[dict[str, str | float]]:
    return list(transactions(count, seed=5).payloads())
