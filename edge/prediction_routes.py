"""GET /v1/predictions/{prediction_id}: why was this payment blocked?"""

from edge.problems import HttpError
from edge.routes import Access, Call, Reply, Route
from scoring.log.store import StoredPrediction, find_prediction


def show(call: Call) -> Reply:
    with call.resources.connect() as connection:
        found = find_prediction(connection, call.path["prediction_id"])
    if found is None:
        raise HttpError(404, "no such prediction; one answered less than a second ago may still be on its way")
    return Reply(found)


ROUTES = (
    Route(
        "GET",
        "/v1/predictions/{prediction_id}",
        Access.AUDITOR,
        show,
        "Scoring",
        "Show a stored prediction, with everything that is needed to recompute it",
        gives={200: StoredPrediction},
        refuses=(404,),
    ),
)
