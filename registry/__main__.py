"""`python -m registry`."""

from registry import RegistryError
from registry.cli import check, register  # noqa: F401  Each adds its command.
from registry.cli.commands import registry
from runtime.command import run

EXPECTED = (RegistryError,)

if __name__ == "__main__":
    run(registry, *EXPECTED)
