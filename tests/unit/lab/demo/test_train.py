from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from lab.demo.recipes import RECIPES, Recipe
from lab.demo.train import Trained, train
from lab.demo.transactions import DEFAULTS, NUMBERS, transactions

QUICK = replace(RECIPES[0], trees=40, rows=8_000)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(QUICK)


def scores(trained: Trained, columns: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(trained.onnx)
    feed = {
        name: column.astype(np.float32 if name in NUMBERS else object).reshape(-1, 1)
        for name, column in columns.items()
    }
    return np.asarray(session.run(["probabilities"], feed)[0])[:, 1]


def test_it_tells_fraud_from_honest_payments_well_above_chance(trained: Trained) -> None:
    assert trained.auc > 0.83


def test_thresholds_send_few_to_review_and_fewer_to_block(trained: Trained) -> None:
    found = scores(trained, transactions(20_000, seed=99).columns)
    blocked = (found >= trained.block).mean()
    reviewed = (found >= trained.review).mean() - blocked
    assert 0.005 < blocked < 0.02
    assert 0.015 < reviewed < 0.045


def test_every_column_is_an_input_of_its_own_with_strings_as_strings(trained: Trained) -> None:
    inputs = {value.name: value.type for value in onnxruntime.InferenceSession(trained.onnx).get_inputs()}
    assert inputs["currency"] == "tensor(string)"
    assert inputs["amount"] == "tensor(float)"
    assert len(inputs) == 11


def test_a_country_never_seen_is_scored_and_not_refused(trained: Trained) -> None:
    row = DEFAULTS | {"amount": 100.0, "currency": "ZZZ", "country": "Atlantis", "payment_method": "shells"}
    (score,) = scores(trained, {name: np.array([value]) for name, value in row.items()})
    assert 0 <= score <= 1


def test_the_progress_bar_receives_every_tree() -> None:
    trees: list[None] = []
    train(Recipe("0", trees=5, depth=2, learning_rate=0.1, rows=4_000, seed=1), on_tree=lambda: trees.append(None))
    assert len(trees) == 5
