"""`python -m canary`."""

from canary.cli.commands import canary
from canary.errors import CanaryError
from registry import RegistryError
from runtime.command import run
from runtime.reading import InputInvalid

if __name__ == "__main__":
    run(canary, CanaryError, RegistryError, InputInvalid)
