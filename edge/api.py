"""The control routes that answer on both ports."""

from edge import canary, labels, models, predictions

ROUTES = (*models.ROUTES, *predictions.ROUTES, *canary.ROUTES, *labels.ROUTES)
