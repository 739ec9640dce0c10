"""The parameters of the two demo models. Quick to import, unlike the training."""

from dataclasses import dataclass

PRODUCT = "fraud_score"


@dataclass(frozen=True)
class Recipe:
    """`rows`: payments to train on."""

    version: str
    trees: int
    depth: int
    learning_rate: float
    rows: int
    seed: int


RECIPES = (
    Recipe("1.0.0", trees=120, depth=3, learning_rate=0.1, rows=16_000, seed=11),
    Recipe("2.0.0", trees=300, depth=4, learning_rate=0.06, rows=24_000, seed=22),
)
