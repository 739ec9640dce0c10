"""Errors that a command of lab/ reports in one line instead of a traceback."""

from pathlib import Path

LOG_TAIL_CHARACTERS = 1_500


class LabError(Exception):
    """Base of the errors in this module; the first line of the message says what failed."""


class ProcessFailed(LabError):
    """A process ended, or never became ready. The message includes the end of its log."""

    def __init__(self, name: str, fact: str, log: Path) -> None:
        self.name, self.fact, self.log = name, fact, log
        tail = log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:] if log.exists() else ""
        super().__init__(f"{name} {fact}; the end of {log}:\n{tail}")


class NotInTime(LabError):
    """A condition was not met before its deadline."""

    def __init__(self, condition: str, seconds: float) -> None:
        super().__init__(f"{condition}: not within {seconds:.0f} s")


class RequestFailed(LabError):
    """A request got no answer, or one that is not 2xx."""

    def __init__(self, method: str, url: str, fact: str) -> None:
        super().__init__(f"{method} {url}: {fact}")


class LoadFailed(LabError):
    """A load generator ended without results."""
