"""Request bodies of ASGI requests: bytes up to a limit, and forms with files."""

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import msgspec
from anyio import to_thread
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from edge.problems import BodyTooLarge, HttpError
from runtime.reading import read

_Headers = Iterable[tuple[bytes, bytes]]

UPLOAD_PARTS = ("file", "reference")


def header(headers: _Headers, name: bytes) -> bytes | None:
    """Return the first value of a header; `name` in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return None


def check_declared_length(headers: _Headers, limit: int) -> None:
    """Raise BodyTooLarge if Content-Length is over `limit` bytes: nothing of the body needs to arrive for that."""
    declared = header(headers, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(limit)


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the whole body; raise BodyTooLarge before more than `limit` bytes and one chunk are held."""
    check_declared_length(scope["headers"], limit)
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpError(400, "the connection closed before the body was complete")
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(limit)
        more = message.get("more_body", False)
    return body


async def read_form(request: Request, cleanup: ExitStack) -> tuple[dict[str, str], dict[str, Path]]:
    """Return the form's text fields, and its files by part name in a folder that `cleanup` deletes."""
    if not request.headers.get("content-length", "").isdigit():
        raise HttpError(422, "an upload needs a content-length")
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="sira-upload-")))
    texts: dict[str, str] = {}
    files: dict[str, Path] = {}
    try:
        async with request.form(max_files=len(UPLOAD_PARTS), max_fields=32) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    if name not in UPLOAD_PARTS or name in files:
                        raise HttpError(422, f"a form may hold one part of each name: {', '.join(UPLOAD_PARTS)}")
                    # The suffix tells the kind of a reference file; nothing else of its name is used.
                    path = files[name] = folder / f"{name}{Path(value.filename or '').suffix[:16]}"
                    with path.open("wb") as file:
                        while chunk := await value.read(1 << 20):
                            await to_thread.run_sync(file.write, chunk)
                else:
                    texts[name] = value
    except (HTTPException, ClientDisconnect):
        raise HttpError(400, "the form cannot be read to its end: send multipart/form-data") from None
    if "file" not in files:
        raise HttpError(422, "a form needs a part named file")
    return texts, files


def from_form(kind: type[msgspec.Struct], texts: dict[str, str]) -> Any:
    """Return a form's text fields as a struct: lists are written with commas, maps as JSON. Raises InputInvalid."""
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return read(kind, {name: _from_text(types.get(name), text) for name, text in texts.items()}, strict=False)


def _is_struct_list(kind: Any) -> bool:
    """Return whether a type is a list or tuple of structs, which only JSON can write."""
    kind = getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
    return any(isinstance(item, type) and issubclass(item, msgspec.Struct) for item in get_args(kind))


def _from_text(kind: Any, text: str) -> Any:
    members = get_args(kind) or (kind,)
    origins = {getattr(member, "__origin__", member) for member in (kind, *members)}
    if dict in origins or any(_is_struct_list(member) for member in members):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    if origins & {list, tuple} and text not in {value for member in members for value in get_args(member)}:
        return [part.strip() for part in text.split(",")]
    return text
