"""Model files, addressed by their sha256 and verified each time they are read."""

from registry.artifacts.backend import (
    AccessDenied,
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    ArtifactNotWritten,
    ArtifactStoreUnreachable,
    ArtifactTooLarge,
    Backend,
    Progress,
)
from registry.artifacts.store import ArtifactStore, open_backend, open_store, sha256_of

__all__ = [
    "AccessDenied",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactMissing",
    "ArtifactNotWritten",
    "ArtifactStore",
    "ArtifactStoreUnreachable",
    "ArtifactTooLarge",
    "Backend",
    "Progress",
    "open_backend",
    "open_store",
    "sha256_of",
]
