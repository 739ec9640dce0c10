"""`python -m archive`."""

from archive.cli.commands import archive
from archive.errors import ArchiveError
from registry.artifacts import ArtifactError
from runtime.command import run

EXPECTED = (ArchiveError, ArtifactError)

if __name__ == "__main__":
    run(archive, *EXPECTED)
