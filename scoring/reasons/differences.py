"""Why two versions score the same events differently: the differences of their impacts, against one background."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from registry.model_version import ModelVersion
from runtime.postgres import Connection
from scoring.reasons.description import slopes
from scoring.reasons.explainers import ExplainedVersion, Explainers
from scoring.reasons.explanation import Array, Impacts, Scale, additive

# With sampling, each event takes thousands of runs of a model.
MAX_SAMPLED_EVENTS = 20


class EventOfTwo(NamedTuple):
    """An event that both versions have scored."""

    prediction_id: str
    payload: Mapping[str, Any]
    before_score: float
    after_score: float


class ImpactDifferences(NamedTuple):
    """`values` is (events, fields) on `scale`; `places` are the events' places in what was given."""

    places: list[int]
    names: list[str]
    values: Array
    scale: Scale


def impact_differences(
    connection: Connection,
    explainers: Explainers,
    before: ModelVersion,
    after: ModelVersion,
    events: Sequence[EventOfTwo],
) -> ImpactDifferences:
    """Return by how much more each field raises the score in `after` than in `before`.

    Both are explained against the background of `before`, so that the differences are the Shapley values of the
    difference between the models. Events whose impacts do not add up are left out. Raises what Explainers.of raises.
    """
    explained = explainers.of(connection, before), explainers.of(connection, after, against=before)
    if any(one.explainer.method == "sampled" for one in explained):
        events = events[:MAX_SAMPLED_EVENTS]
    found = [_impacts(one, events) for one in explained]
    scores = [event.before_score for event in events], [event.after_score for event in events]
    good = np.logical_and.reduce([additive(impacts, of) for impacts, of in zip(found, scores, strict=True)])
    scale: Scale = found[0].scale if found[0].scale == found[1].scale else "probability"
    values = [impacts.values if impacts.scale == scale else _as_probability(impacts) for impacts in found]
    names = list(dict.fromkeys([*explained[0].names, *explained[1].names]))
    differences = np.zeros((len(events), len(names)))
    for sign, one, its_values in zip((-1.0, 1.0), explained, values, strict=True):
        differences[:, [names.index(name) for name in one.names]] += sign * its_values
    places = np.flatnonzero(good)
    return ImpactDifferences(places.tolist(), names, differences[places], scale)


def _impacts(explained: ExplainedVersion, events: Sequence[EventOfTwo]) -> Impacts:
    rows = [explained.feed.row(event.payload) for event in events]
    return explained.explainer.explain(rows, [event.prediction_id for event in events])


def _as_probability(impacts: Impacts) -> Array:
    per_unit = [slopes(impacts.base, margin, impacts.scale)[1] for margin in impacts.sums().tolist()]
    return np.asarray(impacts.values * np.array(per_unit)[:, None])
