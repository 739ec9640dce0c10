"""Explanations of every converter's models, against Shapley's definition: all coalitions of payload fields."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scoring.reasons.explanation import additive
from scoring.reasons.shapley.sampled import MIN_PROBABILITY
from tests.support.brute_force import log_odds, shapley
from tests.support.explained_models import open_trained
from tests.support.trained_models import SERVED_MODELS, WRONGLY_CONVERTED

BACKGROUND, EVENTS = 16, 3

# The method that each converter's graph allows, and the scale on which its parts add up.
EXPLAINED = {
    "logistic regression": ("linear", "log_odds"),
    "decision tree": ("exact", "probability"),
    "random forest": ("exact", "probability"),
    "random forest, string labels": ("exact", "probability"),
    "random forest, labels 1 and 2": ("exact", "probability"),
    "random forest, boolean labels": ("exact", "probability"),
    "random forest, labels -1 and 1": ("exact", "probability"),
    "an output for each text class": ("exact", "probability"),
    "extra trees": ("exact", "probability"),
    "bagging": ("exact", "probability"),
    "gradient boosting": ("exact", "log_odds"),
    "maps of classes": ("linear", "log_odds"),
    "histogram boosting": ("exact", "log_odds"),
    "histogram boosting, blanks": ("exact", "log_odds"),
    "LightGBM": ("exact", "log_odds"),
    "LightGBM, blanks that training had not": ("exact", "log_odds"),
    "LightGBM, blanks": ("exact", "log_odds"),
    "LightGBM, categories": ("exact", "log_odds"),
    "XGBoost": ("exact", "log_odds"),
    "XGBoost, blanks": ("exact", "log_odds"),
    "XGBoost, base score": ("exact", "log_odds"),
    "XGBoost, early stopping": ("exact", "log_odds"),
    "XGBoost, random forest": ("exact", "log_odds"),
    "CatBoost": ("exact", "log_odds"),
    "CatBoost, blanks": ("exact", "log_odds"),
    "pipeline of columns": ("linear", "log_odds"),
    "pipeline of columns, blanks imputed": ("exact", "log_odds"),
    "names with spaces, dots and umlauts": ("linear", "log_odds"),
    "doubles": ("linear", "log_odds"),
    "whole numbers": ("exact", "log_odds"),
    "a tensor beside a string": ("linear", "log_odds"),
}
SAMPLED = (
    "adaboost",
    "calibrated, sigmoid",
    "neural network",
    "stacking",
    "voting",
    "naive Bayes",
    "support vectors",
    "quadratic discriminant",
)


def test_every_model_of_the_converters_is_explained() -> None:
    assert {*EXPLAINED, *SAMPLED} == SERVED_MODELS.keys()


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_readable_model_is_explained_as_shapley_defines_it(name: str, tmp_path: Path) -> None:
    opened = open_trained(SERVED_MODELS[name](), tmp_path)
    background, events = opened.rows[:BACKGROUND], opened.rows[BACKGROUND : BACKGROUND + EVENTS]
    explainer = opened.explainer(background)
    impacts = explainer.explain(events, ["seed"] * EVENTS)
    assert (impacts.method, impacts.scale) == EXPLAINED[name]
    assert additive(impacts, opened.session.score(events)).all()
    for row, values in zip(events, impacts.values, strict=True):
        base, expected = shapley(opened.margins(impacts.scale), row, background)
        assert impacts.base == pytest.approx(base, abs=1e-6)
        assert values == pytest.approx(expected, abs=1e-6)


def kept_finite(score: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda rows: log_odds(score(rows), floor=MIN_PROBABILITY)


@pytest.mark.parametrize("name", SAMPLED)
def test_any_other_model_is_explained_by_sampling_within_its_standard_errors(name: str, tmp_path: Path) -> None:
    opened = open_trained(SERVED_MODELS[name](), tmp_path)
    background, event = opened.rows[:BACKGROUND], opened.rows[BACKGROUND]
    explainer = opened.explainer(background)
    impacts = explainer.explain([event], ["seed"])
    assert (impacts.method, impacts.scale) == ("sampled", "log_odds")
    assert explainer.sampled_because
    assert impacts.errors is not None
    assert additive(impacts, opened.session.score([event])).all()
    base, expected = shapley(kept_finite(opened.session.score), event, background)
    assert impacts.base == pytest.approx(base, abs=1e-6)
    assert (np.abs(impacts.values[0] - expected) <= 4 * impacts.errors[0] + 1e-9).all()


def test_a_converter_that_writes_another_model_is_explained_as_the_model_that_serves(tmp_path: Path) -> None:
    train, _ = WRONGLY_CONVERTED["LightGBM, random forest"]
    trained = train()
    opened = open_trained(trained, tmp_path)
    impacts = opened.explainer(opened.rows[:BACKGROUND]).explain(opened.rows[20:21], ["seed"])
    assert impacts.method == "sampled"
    assert additive(impacts, opened.session.score(opened.rows[20:21])).all()
