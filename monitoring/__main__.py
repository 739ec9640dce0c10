"""`python -m monitoring`."""

from monitoring.cli.commands import monitoring
from monitoring.control_group.store import ControlGroupUnavailable, ControlProductUnknown
from runtime.command import run
from runtime.reading import InputInvalid

EXPECTED = (ControlGroupUnavailable, ControlProductUnknown, InputInvalid)

if __name__ == "__main__":
    run(monitoring, *EXPECTED)
