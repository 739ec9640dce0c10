"""Every error as an RFC 9457 problem document. One table maps errors to HTTP."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from starlette.types import Send

from backtest.errors import BacktestError, BacktestNotFound, CostsInvalid
from canary.errors import CanaryError
from canary.rollout.operations import ProductNotFound
from monitoring.breaker.store import BreakerProductUnknown, BreakerUnavailable
from monitoring.control_group.store import ControlGroupUnavailable, ControlProductUnknown
from registry import RegistryError
from registry.artifacts import AccessDenied, ArtifactError, ArtifactMissing, ArtifactStoreUnreachable
from registry.inspection.reference_check import Differences
from registry.model_version import ThresholdsInvalid
from registry.signature import SignatureInvalid
from registry.store import CursorInvalid, ModelNotFound, StatusChangeRefused, VersionExists
from runtime.auth import TokenRefused
from runtime.reading import InputInvalid, Violation
from scoring.errors import (
    BodyNotJson,
    ModelNotLoaded,
    ModelTimedOut,
    ProductUnknown,
    ReasonsUnavailable,
    ScoringFailed,
)
from scoring.log.spool import SpoolError, SpoolFull
from scoring.reasons.explanation import NotAdditive

log = logging.getLogger("sira.edge.problems")

CONTENT_TYPE = "application/problem+json"
CLOSE = (b"connection", b"close")
_CONTENT = (b"content-type", CONTENT_TYPE.encode())
_encode = msgspec.json.Encoder().encode

# The status phrases: RFC 9457 (4.2.1) wants them as titles of problems without a type of their own.
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Fault(msgspec.Struct, frozen=True):
    pointer: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """`errors` names every wrong field by JSON pointer; never a value.

    `differences` say how a model's scores differ from those of its reference rows.
    """

    title: str
    status: int
    detail: str
    errors: list[Fault] = []
    type: str = "about:blank"
    differences: Differences | None = None


class HttpError(Exception):
    """An error of the HTTP request itself."""

    def __init__(self, status: int, detail: str, violations: Sequence[Violation] = ()) -> None:
        self.status = status
        self.violations = list(violations)
        super().__init__(detail)


class BodyTooLarge(HttpError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"send at most {limit_bytes} bytes")


class TooManyRequests(HttpError):
    def __init__(self) -> None:
        super().__init__(429, "too many requests at once: slow down and try again")


class Forbidden(HttpError):
    def __init__(self, needed: str) -> None:
        super().__init__(403, f"this needs {needed}")


class NoSuchPath(HttpError):
    def __init__(self) -> None:
        super().__init__(404, "no such path: see /docs")


class MethodNotAllowed(HttpError):
    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__(405, f"this path takes {' and '.join(allowed)}: see /docs")


@dataclass(frozen=True, slots=True)
class Mapped:
    """An error in HTTP. `type` and `title` are set for a problem that callers are meant to tell apart."""

    status: int
    retry_after_seconds: int | None = None
    type: str = "about:blank"
    title: str | None = None


# First match wins: name a class before its base.
_TABLE: tuple[tuple[type[Exception], Mapped], ...] = (
    (BodyNotJson, Mapped(400)),
    (TokenRefused, Mapped(401)),
    (InputInvalid, Mapped(422)),
    (ProductUnknown, Mapped(404)),
    (ModelNotLoaded, Mapped(503, 1)),
    (ModelTimedOut, Mapped(503, 1, "urn:sira:problem:model-timed-out", "Model Timed Out")),
    # Not 503: the same event fails again, and a caller that retries a 503 would do so without end.
    (ScoringFailed, Mapped(500, None, "urn:sira:problem:model-failed", "Model Failed")),
    (ReasonsUnavailable, Mapped(409)),
    (NotAdditive, Mapped(500, None, "urn:sira:problem:reasons-not-additive", "Reasons Not Additive")),
    (SpoolFull, Mapped(503, 5)),
    (SpoolError, Mapped(503, 1)),
    (ModelNotFound, Mapped(404)),
    (VersionExists, Mapped(409)),
    (StatusChangeRefused, Mapped(409)),
    (CursorInvalid, Mapped(422)),
    (SignatureInvalid, Mapped(422)),
    (ThresholdsInvalid, Mapped(422)),
    (ProductNotFound, Mapped(404)),
    (BreakerProductUnknown, Mapped(404)),
    (BreakerUnavailable, Mapped(409)),
    (ControlProductUnknown, Mapped(404)),
    (ControlGroupUnavailable, Mapped(409)),
    (ArtifactMissing, Mapped(422)),
    (AccessDenied, Mapped(503, 30)),
    (ArtifactStoreUnreachable, Mapped(503, 5)),
    (ArtifactError, Mapped(422)),
    (RegistryError, Mapped(422)),
    (CanaryError, Mapped(409)),
    (BacktestNotFound, Mapped(404)),
    (CostsInvalid, Mapped(422)),
    (BacktestError, Mapped(409)),
)


def map_error(error: Exception) -> tuple[Mapped, Problem] | None:
    """Return how an error appears in HTTP; None for an unexpected one."""
    if isinstance(error, HttpError):
        mapped = Mapped(error.status, 1 if error.status in (408, 429, 503) else None)
        return mapped, problem(error.status, str(error), error.violations)
    for kind, mapped in _TABLE:
        if isinstance(error, kind):
            found = problem(mapped.status, _detail(error), _violations(error))
            return mapped, msgspec.structs.replace(
                found,
                type=mapped.type,
                title=mapped.title or found.title,
                differences=getattr(error, "differences", None),
            )
    return None


def document(error: Exception) -> Problem:
    """Problem document for an exception; an unexpected one becomes a 500 without details."""
    if mapped := map_error(error):
        return mapped[1]
    log.error("request_failed", exc_info=error)
    return problem(500, "internal error; see the service log")


def problem_response(error: Exception) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an error's problem document."""
    mapped = map_error(error)
    found = mapped[1] if mapped else document(error)
    body = _encode(found)
    headers = [_CONTENT, (b"content-length", b"%d" % len(body))]
    if mapped and mapped[0].retry_after_seconds:
        headers.append((b"retry-after", b"%d" % mapped[0].retry_after_seconds))
    if found.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if found.status in (408, 413):
        headers.append(CLOSE)
    return found.status, headers, body


async def send_problem(send: Send, error: Exception) -> int:
    """Send a problem document; return its status."""
    status, headers, body = problem_response(error)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return status


def problem(status: int, detail: str, violations: Sequence[Violation] = ()) -> Problem:
    title = TITLES.get(status) or HTTPStatus(status).phrase
    return Problem(title, status, detail, [Fault(v.pointer, v.detail) for v in violations])


def _detail(error: Exception) -> str:
    return "see errors" if _violations(error) else str(error)


def _violations(error: Exception) -> list[Violation]:
    if isinstance(error, InputInvalid):
        return error.violations
    return [Violation("", fault) for fault in getattr(error, "faults", ())]
