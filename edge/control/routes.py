"""What a route is: a path, who may call it, the bodies it takes and gives, and a function from Call to Reply."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge.control.kept_connections import KeptConnections
from registry.artifacts import ArtifactStore
from runtime.auth import Caller, Role
from runtime.postgres import Connection
from scoring.reasons.explainers import DEFAULT_ROWS, Explainers

RouteGroup = Literal["Scoring", "Open Inference", "Models", "Canary", "Monitoring", "Health"]


class Access(Enum):
    """The callers that a route admits; the text is what a 403 says is needed."""

    ANYONE = "nothing"  # a token is not even looked at
    OPTIONAL = "no token, or a valid one"
    ANY_TOKEN = "a service token, or a token of any role"
    VIEWER = "the role viewer, auditor or ml_ops"
    AUDITOR = "the role auditor or ml_ops"
    ML_OPS = "the role ml_ops"
    SERVICE = "a service token"
    SERVICE_OR_ML_OPS = "a service token or the role ml_ops"

    def admits(self, caller: Caller | None) -> bool:
        if self in (Access.ANYONE, Access.OPTIONAL):
            return True
        if caller is None:
            return False
        if self is Access.ANY_TOKEN:
            return True
        if caller.role is None:
            return self in (Access.SERVICE, Access.SERVICE_OR_ML_OPS)
        needed = {
            Access.VIEWER: Role.viewer,
            Access.AUDITOR: Role.auditor,
            Access.ML_OPS: Role.ml_ops,
            Access.SERVICE_OR_ML_OPS: Role.ml_ops,
        }
        return self in needed and caller.role >= needed[self]


@dataclass(frozen=True, slots=True)
class Resources:
    """The stores and settings that control routes work on.

    `archive_bucket`: None if the log is not archived. `kept_connections`: how many stay open between calls, at most.
    """

    database_url: str
    artifacts: ArtifactStore
    prometheus_url: str | None = None
    alertmanager_url: str | None = None
    require_reference: bool = False
    ignore_alerts: bool = False
    background_rows: int = DEFAULT_ROWS
    archive_bucket: str | None = None
    label_maturity_days: float = 30.0
    kept_connections: int = 0
    explainers: Explainers = field(init=False)
    connections: KeptConnections = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "explainers", Explainers(self.artifacts, rows=self.background_rows))
        object.__setattr__(self, "connections", KeptConnections(self.database_url, self.kept_connections))

    def connect(self, *, autocommit: bool = False) -> AbstractContextManager[Connection]:
        """Return a connection for one call: `with ... as connection:` commits at its end, or rolls back on an error."""
        return self.connections.lend(autocommit=autocommit)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a control route.

    `body` and `query` are of the types that the route names; `upload` and `reference` are files of a form.
    """

    resources: Resources
    caller: Caller | None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None
    upload: Path | None = None
    reference: Path | None = None

    @property
    def actor(self) -> str:
        """The actor for the audit log; routes that write always have a caller."""
        assert self.caller is not None
        return self.caller.subject


@dataclass(frozen=True, slots=True)
class Reply:
    """`content` is of a type that the route gives for this status, or `text` is of another media type."""

    content: Any = None
    status: int = 200
    text: str | None = None
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Text:
    """A response that is not JSON."""

    media_type: str


@dataclass(frozen=True, slots=True)
class Route:
    """One operation; /openapi.json is made from these.

    gives:         by status, the type of the body or Text; a tuple of them are alternatives.
    takes:         the type that the body is read into (`runtime.reading.read`); None for a route without a body.
    body_required: whether a call without a body is refused; else it is read as `{}`.
    query:         the struct that the query parameters are read into; None ignores them.
    refuses:       statuses of problem documents, besides those that follow from the fields here.
    body_limit:    in bytes.
    upload:        whether multipart/form-data with a `file` part is taken too.
    refusal_body:  the type of refusals' bodies, which are JSON; None for problem documents.
    local:         whether the route waits for nothing outside this process.
    """

    method: str
    path: str
    access: Access
    handle: Callable[[Call], Reply]
    group: RouteGroup
    summary: str
    gives: Mapping[int, Any]
    takes: Any = None
    body_required: bool = True
    query: type[msgspec.Struct] | None = None
    refuses: tuple[int, ...] = ()
    notes: str = ""
    body_limit: int = 64 << 10
    upload: bool = False
    refusal_body: Any = None
    local: bool = False

    def refusals(self) -> list[int]:
        """Return all statuses of problem documents, in order."""
        statuses = set(self.refuses)
        if self.access is not Access.ANYONE:
            statuses.add(401)
        if self.access not in (Access.ANYONE, Access.OPTIONAL, Access.ANY_TOKEN):
            statuses.add(403)
        if self.takes is not None:
            statuses |= {400, 408, 413, 415, 422}
        if self.query is not None or "{" in self.path:
            statuses.add(422)
        if not self.local:
            statuses.add(503)
        return sorted(statuses)


def answered_before_routing(call: Call) -> Reply:
    """Stand in for the handler of a route that is only described here: the path is answered before routing."""
    raise AssertionError("this path is answered before routing")
