"""One table maps errors to HTTP."""

import importlib
import pkgutil
from collections.abc import Iterator
from http import HTTPStatus

import pytest

import canary
import registry
import runtime
import scoring
from canary.errors import CanaryError
from edge.problems import _TABLE, TITLES, BodyTooLarge, Forbidden, HttpError, map_error
from registry import RegistryError
from registry.artifacts import AccessDenied, ArtifactCorrupt, ArtifactError
from registry.registration import RegistrationRefused
from runtime.auth import AuthError, TokenRefused
from runtime.reading import InputInvalid, Violation
from scoring.errors import ModelTimedOut, ScoringError, ScoringFailed
from scoring.log.spool import SpoolError, SpoolFull, SpoolUnwritable

# These end the start of a process or stay inside one: no caller ever sees them.
NEVER_A_CALLER_S = {
    "ModelUnusable",
    "ReferenceMismatch",
    "ModelRefused",
    "AuthError",
    "ScoringError",
    "SettingsInvalid",
}


def every_error(base: type[Exception]) -> Iterator[type[Exception]]:
    for package in (canary, registry, runtime, scoring):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    pending = [base]
    while pending:
        kind = pending.pop()
        yield kind
        pending += kind.__subclasses__()


@pytest.mark.parametrize("base", [RegistryError, CanaryError, ScoringError, SpoolError, AuthError])
def test_every_error_of_ours_has_a_status(base: type[Exception]) -> None:
    unmapped = {
        kind.__name__
        for kind in every_error(base)
        if not any(issubclass(kind, mapped) for mapped, _ in _TABLE) and kind.__name__ not in NEVER_A_CALLER_S
    }
    assert unmapped == set()


def test_no_entry_of_the_table_hides_behind_an_earlier_one() -> None:
    hidden = [
        later.__name__
        for position, (later, _) in enumerate(_TABLE)
        if any(issubclass(later, earlier) for earlier, _ in _TABLE[:position])
    ]
    assert hidden == []


def test_every_status_has_a_title() -> None:
    assert {mapped.status for _, mapped in _TABLE} <= TITLES.keys()
    assert all(HTTPStatus(status) for status in TITLES)


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (TokenRefused("no token"), 401, None),
        (Forbidden("the role ml_ops"), 403, None),
        (BodyTooLarge(10), 413, None),
        (HttpError(429, "x"), 429, 1),
        (HttpError(503, "x"), 503, 1),
        (ModelTimedOut("timeout"), 503, 1),
        (ScoringFailed("error"), 500, None),
        (ScoringFailed("non_finite"), 500, None),
        (SpoolFull(10), 503, 5),
        (SpoolUnwritable("disk"), 503, 1),
        (AccessDenied("key", "s3://b"), 503, 30),
        (ArtifactCorrupt("key", "wrong sha256"), 422, None),
        (ArtifactError("key", "x"), 422, None),
    ],
)
def test_an_error_has_its_status_and_says_when_to_try_again(error: Exception, status: int, retry: int | None) -> None:
    found = map_error(error)
    assert found is not None
    mapped, problem = found
    assert (mapped.status, problem.status, mapped.retry_after_seconds) == (status, status, retry)


@pytest.mark.parametrize(
    ("error", "kind", "title"),
    [
        (ModelTimedOut("timeout"), "urn:sira:problem:model-timed-out", "Model Timed Out"),
        (ScoringFailed("error"), "urn:sira:problem:model-failed", "Model Failed"),
        (ScoringFailed("non_finite"), "urn:sira:problem:model-failed", "Model Failed"),
    ],
)
def test_a_model_that_fails_is_distinguished_from_a_service_that_is_not_ready(
    error: Exception, kind: str, title: str
) -> None:
    found = map_error(error)
    assert found is not None
    assert (found[1].type, found[1].title) == (kind, title)


def test_an_error_that_is_not_ours_is_not_mapped() -> None:
    assert map_error(KeyError("4111")) is None


def test_every_wrong_field_is_named_by_its_pointer() -> None:
    found = map_error(InputInvalid([Violation("/a", "is missing"), Violation("/b", "must be a number")]))
    assert found is not None
    assert found[1].detail == "see errors"
    assert [(fault.pointer, fault.detail) for fault in found[1].errors] == [
        ("/a", "is missing"),
        ("/b", "must be a number"),
    ]


def test_faults_without_a_place_are_listed_too() -> None:
    refused = map_error(RegistrationRefused(["no review", "no block"]))
    assert refused is not None
    assert [(fault.pointer, fault.detail) for fault in refused[1].errors] == [("", "no review"), ("", "no block")]
