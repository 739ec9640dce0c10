"""SQL files: a package keeps its statements in queries.sql, one `-- name: xyz` block per function."""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class QueriesMalformed(ValueError):
    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path.name}: {fault}")


def load_queries(path: Path) -> dict[str, str]:
    """Return the statements of a file by name; raises QueriesMalformed when a name is repeated or none is found."""
    parts = _NAME.split(path.read_text())
    names, bodies = parts[1::2], parts[2::2]
    if not names:
        raise QueriesMalformed(path, "no `-- name:` line")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise QueriesMalformed(path, f"repeated names: {', '.join(repeated)}")
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}
