"""The tables of subtrees and the closed form for deep leaves: two ways to the same values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier

from scoring.reasons.graph.ensembles import Ensemble
from scoring.reasons.graph.margin import WeightedEnsemble
from scoring.reasons.shapley.bit_bundles import with_bits
from scoring.reasons.shapley.bundles import bundle
from scoring.reasons.shapley.leaves import Leaves, read_leaves
from scoring.reasons.shapley.trees import TreeShapley
from scoring.reasons.shapley.weights import leaf_tables
from tests.support.brute_force import shapley
from tests.support.explained_models import open_model

FIELDS = 13
RNG = np.random.default_rng(20_261_128)


def forest(trees: int, depth: int, fields: int = FIELDS) -> Leaves:
    """Full binary trees over random columns."""
    inner, leaves = 2**depth - 1, 2**depth
    place = np.arange(inner)
    children = np.stack([2 * place + 1, 2 * place + 2])
    children = np.where(children < inner, children, -1 - (children - inner))
    count = trees * inner
    moved = np.concatenate(
        [np.where(children >= 0, children + t * inner, children - t * leaves) for t in range(trees)], 1
    )
    ensemble = Ensemble(
        column=RNG.integers(0, fields, count),
        mode=np.zeros(count, dtype=np.int64),
        value=RNG.normal(size=count).astype(np.float32).astype(np.float64),
        when_true=moved[0],
        when_false=moved[1],
        missing_is_true=RNG.random(count) < 0.5,
        members={},
        roots=np.arange(trees) * inner,
        weights=RNG.normal(size=(trees * leaves, 1)) / 10,
        base_values=np.zeros(0),
        transform="NONE",
        aggregate="SUM",
    )
    return read_leaves(
        [WeightedEnsemble(ensemble, ensemble.weights[:, 0], "x", tuple(range(fields)))], {"x": np.float32}
    )


def values(leaves: Leaves, n: int, *, blanks: bool = True) -> Any:
    rows = RNG.normal(size=(len(leaves.columns), n)).astype(np.float32).astype(np.float64)
    return np.where(RNG.random(rows.shape) < (0.1 if blanks else 0.0), np.nan, rows)


def test_tables_and_the_closed_form_give_the_same_values() -> None:
    leaves = forest(8, 6)
    background, events = values(leaves, 40), values(leaves, 20)
    tables = TreeShapley(leaves, background, FIELDS)
    closed = TreeShapley(leaves, background, FIELDS, max_table_bytes=0)
    assert tables.table_bytes > 0
    assert closed.table_bytes == 0
    assert tables.base == pytest.approx(closed.base, abs=1e-12)
    assert tables.explain(events) == pytest.approx(closed.explain(events), abs=1e-8)


def test_smaller_tables_give_the_same_values() -> None:
    leaves = forest(8, 6)
    background, events = values(leaves, 40), values(leaves, 20)
    whole, small = (
        TreeShapley(leaves, background, FIELDS),
        TreeShapley(leaves, background, FIELDS, max_table_bytes=30_000),
    )
    assert 0 < small.table_bytes < whole.table_bytes
    assert small.explain(events) == pytest.approx(whole.explain(events), abs=1e-8)


def test_leaves_with_too_many_cells_have_tables_of_bits() -> None:
    leaves = forest(1, 11, fields=60)
    background, events = values(leaves, 30), values(leaves, 20)
    cells = bundle(leaves)
    bits = with_bits(leaves, cells, 1 << 27)
    assert (cells.of_leaf < 0).sum() > 500 > (bits.of_leaf < 0).sum()
    tables = TreeShapley(leaves, background, 60)
    closed = TreeShapley(leaves, background, 60, max_table_bytes=0)
    assert tables.base == pytest.approx(closed.base, abs=1e-12)
    assert tables.explain(events) == pytest.approx(closed.explain(events), abs=1e-8)


@pytest.mark.parametrize("max_table_bytes", [0, 1 << 27], ids=["closed form", "tables"])
def test_an_event_has_the_same_digits_alone_and_in_a_batch(max_table_bytes: int) -> None:
    leaves = forest(20, 5)
    shapley_values = TreeShapley(leaves, values(leaves, 128), FIELDS, max_table_bytes=max_table_bytes)
    events = values(leaves, 101)
    together = shapley_values.explain(events)
    alone = np.concatenate([shapley_values.explain(events[:, i : i + 1]) for i in range(events.shape[1])])
    assert (together == alone).all()


def test_trees_deeper_than_a_table_holds_are_exact_too(tmp_path: Path) -> None:
    rows = RNG.normal(size=(300, 11)).astype(np.float32)
    fraud = (rows @ RNG.normal(size=11) + (rows**2).sum(axis=1) / 4 + RNG.normal(size=300) > 2).astype(int)
    model = RandomForestClassifier(2, random_state=1, max_features=2).fit(rows, fraud)
    names = [f"v{i}" for i in range(11)]
    payloads = [{name: float(v) for name, v in zip(names, row, strict=True)} for row in rows[:20]]
    opened = open_model(to_onnx(model, rows[:1], options={"zipmap": False}), tmp_path, payloads, features=tuple(names))
    explainer = opened.explainer(opened.rows[:8])
    found = explainer.explain(opened.rows[8:9], [""])
    base, expected = shapley(opened.session.score, opened.rows[8], opened.rows[:8])
    assert explainer.method == "exact"
    assert explainer.base == pytest.approx(base, abs=1e-6)
    assert found.values[0] == pytest.approx(expected, abs=1e-6)


def test_a_leaf_of_two_conditions_has_the_values_of_its_definition() -> None:
    """Background rows meet neither condition; the event meets both: each is worth a half."""
    assert leaf_tables(np.array([[1.0, 0.0, 0.0, 0.0]]))[0, 3] == pytest.approx([0.5, 0.5])


def test_a_condition_that_event_and_background_meet_alike_is_worth_nothing() -> None:
    assert leaf_tables(np.array([[0.0, 1.0, 0.0, 0.0]]))[0, 3] == pytest.approx([0.0, 1.0])
