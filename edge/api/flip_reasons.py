"""Explain the flips of a canary report: the report's room knows the flips, scoring knows the impacts."""

import logging
from collections.abc import Sequence

import msgspec
import psycopg

from canary.report.flips import FlippedPayload, FlipReasons, flip_reasons, unexplained
from canary.rollout.store import StoredRollout
from edge.control.routes import Resources
from registry import RegistryError
from registry.store import get_version
from scoring.errors import ReasonsUnavailable
from scoring.reasons.differences import EventOfTwo, impact_differences

log = logging.getLogger("sira.edge.api.flip_reasons")


def explain_flips(resources: Resources, rollout: StoredRollout, flips: Sequence[FlippedPayload]) -> FlipReasons | None:
    """Return which fields moved the flips, or why that cannot be said; None without flips."""
    if not flips:
        return None
    events = [
        EventOfTwo(flip.prediction_id, msgspec.json.decode(flip.payload), flip.production_score, flip.canary_score)
        for flip in flips
    ]
    try:
        # The first explanation of a version freezes its background, which a report's own transaction may not.
        with resources.connect(autocommit=True) as connection:
            production, canary = (
                get_version(connection, model_id) for model_id in (rollout.production_model_id, rollout.canary_model_id)
            )
            found = impact_differences(connection, resources.explainers, production, canary, events)
    except ReasonsUnavailable as unavailable:
        return unexplained(str(unavailable))
    except (RegistryError, psycopg.Error) as error:
        log.warning("flips_not_explained", extra={"error": type(error).__name__})
        return unexplained(f"{type(error).__name__}; see the log")
    except Exception as error:  # onnxruntime's own, whose text may quote values
        log.exception("flips_not_explained")
        return unexplained(f"{type(error).__name__}; see the log")
    return flip_reasons([flips[place] for place in found.places], found.names, found.values, found.scale)
