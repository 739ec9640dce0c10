"""What a page is: a path, who may open it, and a function from a visit to a screen or to another page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from canary.controller.sources import Sources
from canary.report.report import SealedPairs
from console.kept import KeptFacts
from console.overview.traffic import MAX_KEPT_CELLS, KeptSlowness
from console.rollouts.course import MAX_KEPT_VERDICTS, KeptVerdicts
from console.session import ROOT, Headers
from edge.control.routes import Access, Resources
from runtime.auth import Authenticator, Caller

MAX_KEPT_ROLLOUTS = 1_000


@dataclass(frozen=True, slots=True)
class Kept:
    """What pages need not read again: verdicts, the sealed pairs of rollouts, and the p95 of cells of traffic."""

    verdicts: KeptVerdicts = field(default_factory=lambda: KeptFacts(MAX_KEPT_VERDICTS))
    pairs: KeptFacts[str, SealedPairs] = field(default_factory=lambda: KeptFacts(MAX_KEPT_ROLLOUTS))
    slowness: KeptSlowness = field(default_factory=lambda: KeptFacts(MAX_KEPT_CELLS))


@dataclass(frozen=True, slots=True)
class Console:
    """What every page may use: the stores, the outside sources and the secrets of the process."""

    resources: Resources
    sources: Sources
    authenticator: Authenticator
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a page. `caller` is None only on pages that anyone may open.

    `peer` is the caller's address, `here` the requested path with its query.
    """

    console: Console
    caller: Caller | None
    now: datetime
    peer: str = ""
    headers: Headers = field(default_factory=dict)
    here: str = ROOT
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def actor(self) -> str:
        """The person's name for the audit log."""
        assert self.caller is not None
        return self.caller.subject

    def may(self, access: Access) -> bool:
        return access.admits(self.caller)


@dataclass(frozen=True, slots=True)
class Screen:
    """A template with its values. `section` is the entry of the navigation that it belongs to."""

    template: str
    title: str
    section: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    cookies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another page to continue at. `notice` is a key of notices.NOTICES, shown there once."""

    path: str
    notice: str | None = None
    cookies: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        if self.notice is None:
            return self.path
        return f"{self.path}{'&' if '?' in self.path else '?'}{urlencode({'notice': self.notice})}"


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One page or one form. A form's fields are in `visit.form`; its origin has been checked.

    `repeatable`: opening it changes nothing, so that a HEAD request may do so too.
    """

    method: str
    path: str
    access: Access
    handle: Callable[[Visit], Screen | Elsewhere]
    repeatable: bool = True


def path_to(*parts: str) -> str:
    """Return a path of the console from its parts, each escaped."""
    return "/".join((ROOT, *(quote(part, safe="") for part in parts)))
