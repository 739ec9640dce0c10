"""Try an opened model on its probe rows: probabilities, the same twice, the same alone as beside others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.feed import InputFeed, raw_scores
from registry.inspection import refusals
from registry.inspection.outputs import choose_output
from registry.inspection.probe_rows import ProbeRow
from registry.inspection.refusals import ModelUnfit, first_line
from registry.probability import ScoreArray, as_probabilities
from registry.signature import ModelInputs, ModelOutput, Signature

# A row's score may differ in the last bits of a float32 when other rows are scored with it.
_SAME_SCORE = 1e-5
_ROWS_TOGETHER = 256
_ROWS_ALONE = 64
_RANDOM_REPEATS = 8


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """The facts known about the output before the trial. `labels` are the graph's classes in column order."""

    labels: tuple[int | str, ...] | None
    positive: str | None
    output: str | None
    random_operators: Sequence[str]


def try_model(
    session: Any, inputs: ModelInputs, probes: Sequence[ProbeRow], facts: GraphFacts
) -> tuple[Signature, list[str]]:
    """Return the signature with its output, and warnings. Raises ModelUnfit and SignatureInvalid.

    Every row that live traffic must be expected to hold must give a probability. Beyond those, a row that the model
    raises on or answers with NaN is a warning, and a finite score outside [0, 1] is a refusal all the same.
    """
    feed = InputFeed(inputs)
    first = [probe for probe in probes if probe.area == "zeros and ones"]
    outputs = _run(session, feed, first)
    # A random operator may draw the same values twice.
    repeats = _RANDOM_REPEATS if facts.random_operators else 1
    if not all(_same_outputs(outputs, _run(session, feed, first)) for _ in range(repeats)):
        raise refusals.random(facts.random_operators)
    output = choose_output(outputs, len(first), labels=facts.labels, positive=facts.positive, wanted=facts.output)
    trial = _Trial(session, feed, output, [name for name in outputs if name != output.name])
    expected = [probe for probe in probes if probe.expected]
    scores = trial.scores(expected)
    if not np.array_equal(scores[:_ROWS_TOGETHER], trial.scores(expected[:_ROWS_TOGETHER]), equal_nan=True):
        raise refusals.random(facts.random_operators)
    if facts.labels is None and output.layout == "probability" and trial.labels_outliers(probes, outputs):
        raise refusals.anomaly_score(output)
    trial.require_probabilities(expected, scores)
    trial.require_independence(expected, scores)
    return Signature.of(inputs, output), trial.warnings([probe for probe in probes if not probe.expected])


@dataclass(frozen=True, slots=True)
class _Trial:
    """A model whose output is known. `other_outputs` are the names of the rest."""

    session: Any
    feed: InputFeed
    output: ModelOutput
    other_outputs: Sequence[str]

    def scores(self, probes: Sequence[ProbeRow]) -> ScoreArray:
        """Return what the output holds for each row, as it is; raises ModelUnfit."""
        parts = [probes[start : start + _ROWS_TOGETHER] for start in range(0, len(probes), _ROWS_TOGETHER)]
        return np.concatenate([self._scores_together(part) for part in parts] or [np.empty(0)])

    def _scores_together(self, probes: Sequence[ProbeRow]) -> ScoreArray:
        value = _run(self.session, self.feed, probes, [self.output.name])[self.output.name]
        try:
            return raw_scores(self.output, value, len(probes))
        except (ValueError, LookupError, TypeError):
            raise refusals.wrong_shape(self.output, len(probes)) from None

    def labels_outliers(self, probes: Sequence[ProbeRow], outputs: dict[str, Any]) -> bool:
        """Return whether another output labels rows with -1 and 1 only, and some with -1.

        That is how outlier detectors are exported: isolation forest, one-class SVM, local outlier factor.
        """
        integer = [
            name
            for name in self.other_outputs
            if isinstance(value := outputs[name], np.ndarray) and value.dtype.kind == "i"
        ]
        # A detector may find no outlier near what it knows, and gives no label of its own to a blank.
        numbers = [probe for probe in probes if probe.area not in ("blanks", "unknown categories")]
        try:
            labels = _run(self.session, self.feed, numbers, integer) if integer else {}
        except ModelUnfit:
            return False
        return any(np.isin(value, (-1, 1)).all() and (value == -1).any() for value in labels.values())

    def require_probabilities(self, probes: Sequence[ProbeRow], scores: ScoreArray) -> None:
        wrong = np.isnan(as_probabilities(scores))
        if (wrong & np.isfinite(scores)).any():
            raise refusals.margin(self.output, self.other_outputs, scores)
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            raise refusals.not_finite(self.output, probes[place], float(scores[place]))

    def require_independence(self, probes: Sequence[ProbeRow], scores: ScoreArray) -> None:
        places = np.unique(np.linspace(0, len(probes) - 1, _ROWS_ALONE).astype(int)).tolist()
        alone = np.concatenate([self.scores([probes[place]]) for place in places])
        if not np.allclose(as_probabilities(alone), as_probabilities(scores[places]), rtol=0, atol=_SAME_SCORE):
            raise refusals.dependent_rows()

    def warnings(self, probes: Sequence[ProbeRow]) -> list[str]:
        """Return a warning for each kind of row that the model raises on or answers with NaN; raises ModelUnfit."""
        scores = np.full(len(probes), np.nan)
        raised = np.zeros(len(probes), dtype=bool)
        for start in range(0, len(probes), _ROWS_TOGETHER):
            self._score_apart(probes, range(start, min(start + _ROWS_TOGETHER, len(probes))), scores, raised)
        wrong = np.isnan(as_probabilities(scores))
        if (wrong & np.isfinite(scores)).any():
            raise refusals.margin(self.output, self.other_outputs, scores)
        return refusals.warnings(probes, wrong.tolist(), raised.tolist())

    def _score_apart(self, probes: Sequence[ProbeRow], places: Sequence[int], scores: ScoreArray, raised: Any) -> None:
        """Score rows that the model may raise on: in halves, so that the rows beside them are scored all the same."""
        try:
            scores[list(places)] = self.scores([probes[place] for place in places])
        except ModelUnfit:
            if len(places) == 1:
                raised[places[0]] = True
                return
            for half in (places[: len(places) // 2], places[len(places) // 2 :]):
                self._score_apart(probes, half, scores, raised)


def _run(
    session: Any, feed: InputFeed, probes: Sequence[ProbeRow], names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return outputs by name; raises ModelUnfit describing a row that the model raises on."""
    names = [output.name for output in session.get_outputs()] if names is None else names
    try:
        values = session.run(names, feed.inputs([feed.row(probe.payload) for probe in probes]))
    except Exception as error:
        if len(probes) > 1:
            for half in (probes[: len(probes) // 2], probes[len(probes) // 2 :]):
                _run(session, feed, half, names)
        raise refusals.raises(probes[0], first_line(error)) from None
    return dict(zip(names, values, strict=True))


def _same_outputs(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(
        np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
        else repr(one) == repr(other)
        for one, other in zip(first.values(), second.values(), strict=True)
    )
