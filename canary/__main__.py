"""`python -m canary`."""

from canary.cli import import_labels, watch  # noqa: F401  Each adds its command.
from canary.cli.commands import canary
from canary.errors import CanaryError
from registry import RegistryError
from runtime.command import run
from runtime.reading import InputInvalid

EXPECTED = (CanaryError, RegistryError, InputInvalid)

if __name__ == "__main__":
    run(canary, *EXPECTED)
