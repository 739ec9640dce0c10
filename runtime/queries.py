"""Named SQL: each package keeps its statements in queries.sql, one `-- name: xyz` block per store function."""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class QueriesMalformed(ValueError):
    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path.name}: {fault}")


def load_queries(path: Path) -> dict[str, str]:
    """Statement text by name; raises QueriesMalformed when a name stands twice or none is there."""
    parts = _NAME.split(path.read_text())
    names, bodies = parts[1::2], parts[2::2]
    if not names:
        raise QueriesMalformed(path, "no `-- name:` line")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise QueriesMalformed(path, f"named twice: {', '.join(twice)}")
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}
