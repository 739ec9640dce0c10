"""What a control route is: a method, a path, who may call it, and a plain function from Call to Reply."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from registry.artifacts import ArtifactStore
from runtime.auth import Caller, Role
from runtime.postgres import Connection, connect


class Access(Enum):
    """Who may call a route; the text is what a 403 says is needed."""

    ANYONE = "nothing"  # a token is not even looked at
    OPTIONAL = "no token, or a valid one"
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
    """What control routes work on."""

    database_url: str
    artifacts: ArtifactStore
    prometheus_url: str | None = None
    alertmanager_url: str | None = None
    require_reference: bool = False
    ignore_alerts: bool = False

    def connect(self, *, autocommit: bool = False) -> Connection:
        """A connection for one call: `with ... as connection:` commits at its end, or rolls back on an error."""
        return connect(self.database_url, name="control", autocommit=autocommit)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a control route. `body` is the decoded JSON, None when there was none.

    `upload` is the form part `file`, `reference` the part of that name, each in a temporary file.
    """

    resources: Resources
    caller: Caller | None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    upload: Path | None = None
    reference: Path | None = None

    @property
    def actor(self) -> str:
        """Whom the audit names; routes that write always have a caller."""
        assert self.caller is not None
        return self.caller.subject


@dataclass(frozen=True, slots=True)
class Reply:
    """`content` is anything msgspec encodes as JSON, or `text` of another media type."""

    content: Any = None
    status: int = 200
    text: str | None = None
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Route:
    """`body_limit` is in bytes; `upload` says that multipart/form-data with a `file` part is taken too.

    `local`: waits for nothing outside this process.
    """

    method: str
    path: str
    access: Access
    handle: Callable[[Call], Reply]
    body_limit: int = 64 << 10
    upload: bool = False
    local: bool = False
