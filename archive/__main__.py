"""`python -m archive`."""

from archive.cli.commands import archive
from archive.errors import ArchiveError
from registry.artifacts import ArtifactError
from runtime.command import run

if __name__ == "__main__":
    run(archive, ArchiveError, ArtifactError)
