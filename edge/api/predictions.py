"""GET /v1/predictions/{prediction_id} and its reasons: why was this payment blocked?"""

from archive.postgres.store import has_days
from edge.api.archived_predictions import PredictionQuery, find_archived
from edge.control.routes import Access, Call, Reply, Route
from edge.problems import HttpError
from scoring.log.store import StoredPrediction, find_prediction
from scoring.reasons.description import PredictionReasons
from scoring.reasons.recomputed import explain_prediction


def show(call: Call) -> Reply:
    return Reply(_find(call))


def show_reasons(call: Call) -> Reply:
    stored, resources = _find(call), call.resources
    with resources.connect(autocommit=True) as connection:
        return Reply(explain_prediction(connection, resources.explainers, stored))


def _find(call: Call) -> StoredPrediction:
    """Return the prediction from Postgres or the archive. No connection is held while the archive is searched."""
    prediction_id, resources = call.path["prediction_id"], call.resources
    with resources.connect() as connection:
        found = find_prediction(connection, prediction_id)
        archived = found is None and resources.archive_bucket is not None and has_days(connection)
    if archived and resources.archive_bucket is not None:
        found = find_archived(resources.database_url, resources.archive_bucket, prediction_id, call.query.day)
    if found is None:
        raise HttpError(404, "no such prediction; one answered less than a second ago may still be on its way")
    return found


ROUTES = (
    Route(
        "GET",
        "/v1/predictions/{prediction_id}",
        Access.AUDITOR,
        show,
        "Scoring",
        "Show a stored prediction, with everything that is needed to recompute it",
        gives={200: StoredPrediction},
        query=PredictionQuery,
        notes="Days that are no longer in Postgres are found in the archive.",
        refuses=(404,),
    ),
    Route(
        "GET",
        "/v1/predictions/{prediction_id}/reasons",
        Access.AUDITOR,
        show_reasons,
        "Scoring",
        "Say why a prediction came out as it did",
        gives={200: PredictionReasons},
        query=PredictionQuery,
        refuses=(404, 409, 500),
        notes="Recomputed with the artifact that scored it: the same answer on every call. 409 while its model version "
        "has no background to compare with, and for an event that no model scored.",
    ),
)
