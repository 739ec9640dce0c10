"""The console's own files: style sheet and scripts, read once and served from memory."""

import hashlib
from pathlib import Path

from starlette.responses import Response

PREFIX = "/console/static/"
MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_HEADERS = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}

FILES = {path.name: path.read_bytes() for path in Path(__file__).parent.iterdir() if path.suffix in MEDIA_TYPES}


def address(name: str) -> str:
    """Return the path of a file with its digest, so that a browser fetches it again only after it has changed."""
    return f"{PREFIX}{name}?v={hashlib.sha256(FILES[name]).hexdigest()[:12]}"


def response(path: str, method: str) -> Response | None:
    """Return the file of a path; None when the path is not that of a file."""
    name = path.removeprefix(PREFIX)
    if method not in ("GET", "HEAD") or not path.startswith(PREFIX) or name not in FILES:
        return None
    return Response(FILES[name], headers=_HEADERS, media_type=MEDIA_TYPES[Path(name).suffix])
