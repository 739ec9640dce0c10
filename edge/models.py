"""The registry over HTTP: list, register, promote."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import msgspec

from edge.routes import Access, Call, Reply, Route
from registry import store
from registry.inspection.parent import ReferenceRequest
from registry.inspection.reference_check import DEFAULT_TOLERANCE
from registry.inspection.reference_file import DEFAULT_SCORE_COLUMN, MAX_FILE_BYTES
from registry.model_version import PROMOTE_TARGETS, Status
from registry.registration import Declaration, register, register_stored
from registry.store import DEFAULT_PAGE, MAX_PAGE
from runtime.build import running_build
from runtime.reading import InputInvalid, Violation

UPLOAD_LIMIT = 256 << 20


def list_models(call: Call) -> Reply:
    """Versions, newest first, a page at a time."""
    faults: list[Violation] = []
    limit_text = call.query.get("limit", str(DEFAULT_PAGE))
    if not limit_text.isdecimal() or not 1 <= int(limit_text) <= MAX_PAGE:
        faults.append(Violation("limit", f"must be a whole number from 1 to {MAX_PAGE}"))
    status_text = call.query.get("status")
    if status_text is not None and status_text not in set(Status):
        faults.append(Violation("status", f"must be one of {', '.join(Status)}"))
    faults += [
        Violation(name[:64], "is not a parameter of this list")
        for name in sorted(call.query.keys() - {"product", "status", "limit", "cursor"})
    ]
    if faults:
        raise InputInvalid(faults)
    with call.resources.connect() as connection:
        page = store.list_versions(
            connection,
            product=call.query.get("product"),
            status=Status(status_text) if status_text else None,
            limit=int(limit_text),
            cursor=call.query.get("cursor"),
        )
    models = [version.to_json() for version in page.versions]
    return Reply(
        {"models": models, "total": page.total, "next_cursor": page.next_cursor, "build": asdict(running_build())}
    )


def promote(call: Call) -> Reply:
    """Give a version another status; the production version it replaces is retired in the same transaction."""
    body = call.body if isinstance(call.body, dict) else {}
    faults = [
        Violation(f"/{name[:64]}", "is not a field of a promotion")
        for name in sorted(body.keys() - {"target", "reason"})
    ]
    if body.get("target") not in PROMOTE_TARGETS:
        faults.append(Violation("/target", f"must be one of {', '.join(PROMOTE_TARGETS)}"))
    reason = body.get("reason")
    if reason is not None and not (isinstance(reason, str) and len(reason) <= 1000):
        faults.append(Violation("/reason", "must be a string of at most 1000 characters"))
    if faults:
        raise InputInvalid(faults)
    with call.resources.connect() as connection:
        change = store.change_status(
            connection, call.path["model_id"], Status(body["target"]), actor=call.actor, reason=reason
        )
    retired = change.retired.model_id if change.retired else None
    return Reply({**change.version.to_json(), "previous_status": change.before, "retired_model_id": retired})


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/models. `storage_s3_key` names an artifact already in the store; an upload goes without.

    `reference_s3_key` names a file of reference rows in the store (.parquet, .csv or .jsonl); a form may send it as the
    part `reference`. `tolerance` is how far a score may be from its `score_column`.
    """

    product: str
    name: str
    version: str
    storage_s3_key: str | None = None
    features: tuple[str, ...] | None = None
    positive: str | None = None
    review: float | None = None
    block: float | None = None
    output: str | None = None
    nullable: tuple[str, ...] | Literal["all"] = ()
    default: dict[str, str | bool | int | float] = {}
    rename: dict[str, str] = {}
    reference_s3_key: str | None = None
    score_column: str = DEFAULT_SCORE_COLUMN
    tolerance: Annotated[float, msgspec.Meta(ge=0, le=1)] = DEFAULT_TOLERANCE
    reason: str | None = None


def register_model(call: Call) -> Reply:
    """Check an artifact and make it a staging version; the same again gives the same row and 200 instead of 201."""
    wanted = _registration(call.body, from_form=call.upload is not None)
    declaration = Declaration(
        product=wanted.product,
        name=wanted.name,
        version=wanted.version,
        features=wanted.features,
        positive=wanted.positive,
        review=wanted.review,
        block=wanted.block,
        output=wanted.output,
        nullable=wanted.nullable,
        defaults=wanted.default,
        rename=wanted.rename,
    )
    artifacts, actor, reason, key = call.resources.artifacts, call.actor, wanted.reason, wanted.storage_s3_key
    if call.upload is None and key is None:
        raise InputInvalid([Violation("/storage_s3_key", "is missing: name an artifact, or upload a file")])
    with (
        _reference(call, wanted) as reference,
        call.resources.connect(autocommit=True) as connection,
    ):
        if call.upload is not None:
            done = register(
                connection, artifacts, call.upload, declaration, actor=actor, reason=reason, reference=reference
            )
        else:
            assert key is not None
            done = register_stored(
                connection, artifacts, key, declaration, actor=actor, reason=reason, reference=reference
            )
    return Reply(done.version.to_json(), 201 if done.created else 200)


@contextmanager
def _reference(call: Call, wanted: Registration) -> Iterator[ReferenceRequest | None]:
    """The reference rows that were sent or named, if any; those in the store are fetched for as long as this lasts."""
    with TemporaryDirectory(prefix="sira-reference-") as folder:
        path = call.reference
        if path is None and wanted.reference_s3_key is not None:
            suffix = Path(wanted.reference_s3_key).suffix
            path = call.resources.artifacts.download(
                wanted.reference_s3_key, MAX_FILE_BYTES, Path(folder), suffix=suffix
            )
        if path is None and call.resources.require_reference:
            raise InputInvalid([Violation("/reference_s3_key", "is missing: reference rows are required")])
        yield None if path is None else ReferenceRequest(str(path), wanted.score_column, wanted.tolerance)


def _registration(body: object, *, from_form: bool) -> Registration:
    """Every wrong field at once: each is read alone."""
    if not isinstance(body, dict):
        raise InputInvalid([Violation("", "must be an object")])
    fields: dict[str, Any] = {}
    faults = []
    known = {field.name: field for field in msgspec.structs.fields(Registration)}
    for name in sorted(body.keys() - known.keys()):
        faults.append(Violation(f"/{name[:64]}", "is not a field of a registration"))
    for name, field in known.items():
        if name not in body:
            if field.required:
                faults.append(Violation(f"/{name}", "is missing"))
            continue
        value = body[name]
        try:
            if from_form:
                value = _from_form(name, value)
            fields[name] = msgspec.convert(value, field.type, strict=not from_form)
        except msgspec.ValidationError as error:
            faults.append(Violation(f"/{name}", str(error).partition(" - at")[0].lower()))
    if faults:
        raise InputInvalid(faults)
    return Registration(**fields)


def _from_form(name: str, text: str) -> Any:
    """Return the value of a form's text part: lists are written with commas, maps as JSON."""
    if name in ("features", "nullable") and text != "all":
        return [part.strip() for part in text.split(",")]
    if name in ("default", "rename"):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise msgspec.ValidationError("Must be a JSON object") from None
    return text


ROUTES = (
    Route("GET", "/v1/models", Access.VIEWER, list_models),
    Route("POST", "/v1/models", Access.ML_OPS, register_model, body_limit=UPLOAD_LIMIT, upload=True),
    Route("POST", "/v1/models/{model_id}/promote", Access.ML_OPS, promote),
    Route("POST", "/api/sira/models/{model_id}/promote", Access.ML_OPS, promote),
)
