"""The registry over HTTP: list, register, promote."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.control.routes import Access, Call, Reply, Route
from edge.http.request_head import MAX_BODY_BYTES
from monitoring.breaker.rule import Breaker
from monitoring.breaker.store import breakers
from monitoring.control_group.rule import ControlGroupToday
from monitoring.control_group.store import control_groups
from registry import store
from registry.importance import VersionImportance, importance_of
from registry.inspection.parent import ReferenceRequest
from registry.inspection.reference_check import DEFAULT_TOLERANCE
from registry.inspection.reference_file import DEFAULT_SCORE_COLUMN, MAX_FILE_BYTES
from registry.model_version import PROMOTE_TARGETS, ModelVersion, Status
from registry.reason import Reason
from registry.reason_codes import Codes
from registry.registration import Declaration, register, register_stored
from registry.store import DEFAULT_PAGE, MAX_PAGE
from runtime.build import Build, running_build
from runtime.reading import InputInvalid, Violation


class ModelQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`cursor` is next_cursor of the page before."""

    product: Annotated[str, Meta(description="Only of this product.")] | None = None
    status: Annotated[Status, Meta(description="Only with this status.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="Page size.")] = DEFAULT_PAGE
    cursor: Annotated[str, Meta(description="next_cursor of the page before.")] | None = None


class ModelPage(msgspec.Struct):
    """Newest first. `total` counts all that match; `next_cursor` is null on the last page; `build` is what runs.

    `breakers`: of the products that have one; while `tripped_at` is set, the product's blocks become reviews.
    `control_groups`: likewise; while `enabled`, a share of the product's blocks is let through.
    """

    models: tuple[ModelVersion, ...]
    total: int
    next_cursor: str | None
    build: Build
    breakers: tuple[Breaker, ...]
    control_groups: tuple[ControlGroupToday, ...]


class Promotion(msgspec.Struct, forbid_unknown_fields=True):
    """The new status of a version, and why."""

    target: Literal["production", "canary", "staging", "archived"]
    reason: Reason | None = None


assert set(PROMOTE_TARGETS) == {"production", "canary", "staging", "archived"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted(ModelVersion):
    """The version as it is now. `retired_model_id` is the production version that it replaced."""

    previous_status: Status
    retired_model_id: str | None


def list_models(call: Call) -> Reply:
    query: ModelQuery = call.query
    with call.resources.connect() as connection:
        page = store.list_versions(
            connection, product=query.product, status=query.status, limit=query.limit, cursor=query.cursor
        )
        tripping, letting_through = breakers(connection), control_groups(connection)
    return Reply(
        ModelPage(page.versions, page.total, page.next_cursor, running_build(), tripping, letting_through)
    )  # fmt: skip


def promote(call: Call) -> Reply:
    promotion: Promotion = call.body
    target = Status(promotion.target)
    with call.resources.connect() as connection:
        change = store.change_status(
            connection, call.path["model_id"], target, actor=call.actor, reason=promotion.reason
        )
    version = {field.name: getattr(change.version, field.name) for field in fields(ModelVersion)}
    retired = change.retired.model_id if change.retired else None
    return Reply(Promoted(**version, previous_status=change.before, retired_model_id=retired))


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/models. `storage_s3_key` names an artifact already in the store; an upload goes without.

    `reference_s3_key` names a file of reference rows in the store (.parquet, .csv or .jsonl); a form may send it as the
    part `reference`. `tolerance` is how far a score may be from its `score_column`. A form sends maps and
    `reason_codes` as JSON.
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
    reason_codes: Codes | None = None
    reference_s3_key: str | None = None
    score_column: str = DEFAULT_SCORE_COLUMN
    tolerance: Annotated[float, Meta(ge=0, le=1)] = DEFAULT_TOLERANCE
    reason: Reason | None = None


def register_model(call: Call) -> Reply:
    wanted: Registration = call.body
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
        reason_codes=wanted.reason_codes,
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
    return Reply(done.version, 201 if done.created else 200)


@contextmanager
def _reference(call: Call, wanted: Registration) -> Iterator[ReferenceRequest | None]:
    """Yield the reference rows that were sent or named, or None; a file from the store is deleted at the end."""
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


def show_importance(call: Call) -> Reply:
    with call.resources.connect() as connection:
        version = store.get_version(connection, call.path["model_id"])
        return Reply(importance_of(connection, version.model_id))


def _promotion(path: str) -> Route:
    return Route(
        "POST",
        path,
        Access.ML_OPS,
        promote,
        "Models",
        "Change the status of a version",
        takes=Promotion,
        gives={200: Promoted},
        refuses=(404, 409),
        notes="Production retires the version before it, in one transaction; promote that one again to roll back.",
    )


ROUTES = (
    Route(
        "GET",
        "/v1/models",
        Access.VIEWER,
        list_models,
        "Models",
        "List versions, newest first",
        query=ModelQuery,
        gives={200: ModelPage},
    ),
    Route(
        "POST",
        "/v1/models",
        Access.ML_OPS,
        register_model,
        "Models",
        "Register a version",
        takes=Registration,
        gives={200: ModelVersion, 201: ModelVersion},
        refuses=(409,),
        notes="Of an artifact in the store, named by storage_s3_key, or uploaded as the part `file` of a form. "
        "201 for a new version, 200 if the same one was registered before.",
        body_limit=MAX_BODY_BYTES,
        upload=True,
    ),
    Route(
        "GET",
        "/v1/models/{model_id}/importance",
        Access.VIEWER,
        show_importance,
        "Models",
        "Say which fields matter to a version",
        gives={200: VersionImportance},
        refuses=(404,),
        notes="The mean absolute impact of each field, over the version's background and over a week's traffic.",
    ),
    _promotion("/v1/models/{model_id}/promote"),
    _promotion("/api/sira/models/{model_id}/promote"),
)
