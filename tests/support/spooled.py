"""What waits in a spool."""

from scoring.log.frame import Group, Target
from scoring.log.spool_file import SpoolFile

MANY_ROWS = 1 << 30


def waiting_groups(file: SpoolFile) -> list[Group]:
    """Return the groups that wait in the oldest segment; they go on waiting."""
    reading = file.read(MANY_ROWS)
    return reading.groups if reading else []


def drained(file: SpoolFile) -> list[Group]:
    """Return all groups that wait, and note them as shipped."""
    groups = []
    while reading := file.read(MANY_ROWS):
        groups += reading.groups
        file.shipped(reading)
    return groups


def bodies(groups: list[Group], target: Target = "predictions") -> list[bytes]:
    """Return the text of each group that has some for the target."""
    return [group.bodies[target] for group in groups if target in group.bodies]


def lines(groups: list[Group], target: Target = "predictions") -> list[bytes]:
    return [line for body in bodies(groups, target) for line in body.splitlines()]
