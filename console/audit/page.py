"""The audit log with its filter, its head, and a check of the whole chain."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from canary.rollout import store as rollout_store
from console.audit import store
from console.pages import PageRoute, Screen, Visit, path_to
from edge.control.routes import Access
from edge.problems import HttpError
from registry import audit
from registry.audit import FIRST_PREVIOUS

PATH = path_to("audit")
# What a row may be about, by the beginning of its action.
ACTIONS = ("model.", "canary.", "breaker.", "control_group.")
_FILTERS = ("actor", "subject", "action")


def show(visit: Visit) -> Screen:
    return _screen(visit, {})


def verify(visit: Visit) -> Screen:
    """Verify the whole chain, from an anchor if one was stored elsewhere. It reads every row: it is a form."""
    anchor = _anchor(visit.form.get("anchor", ""))
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        result = audit.verify(connection, anchor)
    return _screen(visit, {"result": result, "anchor": visit.form.get("anchor", "").strip()})


def _screen(visit: Visit, more: Mapping[str, Any]) -> Screen:
    chosen = {name: visit.query.get(name, "").strip() or None for name in _FILTERS}
    text = visit.query.get("below", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 18):
        raise HttpError(422, "below must be the number of a row")
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        rows = store.audit_rows(connection, below=int(text) if text else None, **chosen)
        head = store.audit_head(connection)
    older = None
    if len(rows) == store.MAX_ROWS:
        kept = {name: value for name, value in chosen.items() if value}
        older = f"{PATH}?{urlencode({**kept, 'below': rows[-1].seq})}"
    values = {
        "rows": rows,
        "head": head,
        "fields": visit.query,
        "actions": ACTIONS,
        "older": older,
        "result": None,
        "anchor": "",
        **more,
    }
    return Screen("audit/page.html.j2", "Audit", "audit", values)


def _anchor(text: str) -> tuple[int, str] | None:
    """Read "seq sha256", as `python -m registry audit verify` takes it. Raises HttpError."""
    if not text.strip():
        return None
    seq, _, digest = text.strip().replace(":", " ").partition(" ")
    digest = digest.strip()
    if not (seq.isascii() and seq.isdigit() and len(seq) < 18) or len(digest) != len(FIRST_PREVIOUS):
        raise HttpError(422, "an anchor is the number of a row and its hash, such as 42:9f8c...")
    return int(seq), digest


ROUTES = (PageRoute("GET", PATH, Access.VIEWER, show), PageRoute("POST", PATH, Access.VIEWER, verify))
