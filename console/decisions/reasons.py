"""The reasons of a decision as a bar chart, from the function that the API's route calls."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from console.charts import impact_bar
from console.pages import Visit
from registry import RegistryError
from scoring.errors import ScoringError
from scoring.log.store import StoredPrediction
from scoring.reasons.description import LoggedField, PredictionReasons
from scoring.reasons.explanation import NotAdditive
from scoring.reasons.recomputed import explain_prediction


@dataclass(frozen=True, slots=True)
class ReasonBar:
    """One field with its impact drawn on the scale of the largest."""

    field: LoggedField
    impact: float
    bar: Markup


@dataclass(frozen=True, slots=True)
class Explained:
    """The reasons of a decision, or why there are none."""

    reasons: PredictionReasons | None
    bars: Sequence[ReasonBar]
    unavailable: str = ""

    @property
    def in_log_odds(self) -> bool:
        """Return whether the bars are in log odds."""
        return self.reasons is not None and have_log_odds(self.reasons.fields)


def explain(visit: Visit, stored: StoredPrediction) -> Explained:
    try:
        with visit.console.resources.connect(autocommit=True) as connection:
            found = explain_prediction(connection, visit.console.resources.explainers, stored)
    except (ScoringError, RegistryError, NotAdditive) as error:
        return Explained(None, (), str(error))
    return Explained(found, bars(found.fields))


def have_log_odds(fields: Sequence[LoggedField]) -> bool:
    """Return whether every impact is finite in log odds."""
    return all(field.log_odds is not None for field in fields)


def bars(fields: Sequence[LoggedField]) -> list[ReasonBar]:
    """Draw the impacts in log odds, or in probability where one of them is infinite."""
    in_log_odds = have_log_odds(fields)
    impacts = [field.log_odds if in_log_odds and field.log_odds is not None else field.probability for field in fields]
    largest = max((abs(impact) for impact in impacts), default=0.0)
    return [
        ReasonBar(field, impact, impact_bar(impact / largest if largest else 0.0, f"{field.field}: {impact:+.3f}"))
        for field, impact in zip(fields, impacts, strict=True)
    ]
