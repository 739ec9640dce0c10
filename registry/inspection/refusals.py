"""What a model that fails its trial is refused with, and what it is warned about."""

from collections.abc import Iterable, Sequence

import numpy as np

from registry.inspection.probe_rows import ProbeRow
from registry.probability import ScoreArray, as_probabilities
from registry.signature import ModelOutput

_MAX_NAMED_FIELDS = 5


class ModelUnfit(Exception):
    """The model cannot serve; each argument is a reason and says what to do."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, cut to 300 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def random(operators: Sequence[str]) -> ModelUnfit:
    drawn = f" (its graph contains {', '.join(operators)})" if operators else ""
    return ModelUnfit(f"two runs of the same row give different scores{drawn}: export it without random operators")


def dependent_rows() -> ModelUnfit:
    return ModelUnfit("a row scores differently alone and beside others: rows must not depend on each other")


def raises(probe: ProbeRow, error: str) -> ModelUnfit:
    return ModelUnfit(f"it does not score {_described(probe)}{_advice(probe)}: {error}")


def wrong_shape(output: ModelOutput, rows: int) -> ModelUnfit:
    return ModelUnfit(f"output {output.name} does not hold one score for each of {rows} rows")


def not_finite(output: ModelOutput, probe: ProbeRow, score: float) -> ModelUnfit:
    return ModelUnfit(f"output {output.name} is not a probability but {score} for {_described(probe)}{_advice(probe)}")


def anomaly_score(output: ModelOutput) -> ModelUnfit:
    return ModelUnfit(
        f"output {output.name} is an anomaly score, not a probability: the output beside it labels rows with -1 for "
        "outliers and 1 for inliers. Register a classifier, or calibrate the score into a probability first"
    )


def margin(output: ModelOutput, other_outputs: Sequence[str], scores: ScoreArray) -> ModelUnfit:
    """Return the refusal of a finite score outside [0, 1]."""
    wrong = int(np.isnan(as_probabilities(scores)).sum())
    finite = scores[np.isfinite(scores)]
    another = f" or name another output than this one ({', '.join(other_outputs)})" if other_outputs else ""
    return ModelUnfit(
        f"output {output.name} is not a probability: {wrong:,} of {len(scores):,} probe rows scored outside [0, 1], "
        f"from {finite.min():.4g} to {finite.max():.4g}. If it is a raw margin (a logit), add a Sigmoid to the "
        f"graph{another}"
    )


def warnings(probes: Sequence[ProbeRow], wrong: Sequence[bool], raised: Sequence[bool]) -> list[str]:
    """Return one line for each kind of row that was raised on or answered with NaN."""
    found = []
    for what, happened in (("raises an error", raised), ("gives no probability", wrong)):
        for area, rows in (("unknown categories", "an unknown category"), ("magnitudes", "a large or negative number")):
            hit = [
                probe
                for probe, is_hit, is_raised in zip(probes, happened, raised, strict=True)
                if is_hit and probe.area == area and (what == "raises an error" or not is_raised)
            ]
            if hit:
                names = dict.fromkeys(name for probe in hit for name in probe.fields)
                fields = f" in {_listed(names)}" if names else ""
                found.append(f"the model {what} for {rows}{fields}: such an event is answered with 500")
    return found


def _described(probe: ProbeRow) -> str:
    if probe.area == "zeros and ones":
        return "a plain row (zeros or ones, and categories that its graph knows)"
    if probe.area == "blanks":
        return f"a row without {_listed(probe.fields)}"
    return (
        f"a row of its own {probe.area}" if not probe.fields else f"a row with {probe.area} in {_listed(probe.fields)}"
    )


def _advice(probe: ProbeRow) -> str:
    return " (give such a field a default, or do not make it nullable)" if probe.area == "blanks" else ""


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MAX_NAMED_FIELDS} more" if len(listed) > _MAX_NAMED_FIELDS else ""
    return ", ".join(listed[:_MAX_NAMED_FIELDS]) + more
