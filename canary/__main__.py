"""`python -m canary`."""

from canary.cli.commands import canary
from canary.errors import CanaryError
from registry import RegistryError
from runtime.command import run

if __name__ == "__main__":
    run(canary, CanaryError, RegistryError)
