"""The verdicts of a rollout over time: as a strip, and in words. Pure."""

from collections.abc import Sequence

from markupsafe import Markup

from console.charts import verdict_strip
from console.rollouts.course import JudgedMoment


def strip(course: Sequence[JudgedMoment]) -> Markup:
    """Draw the verdicts over time."""
    times = places(course)
    return verdict_strip([(x, moment.verdict) for x, moment in zip(times, course, strict=True)])


def runs(course: Sequence[JudgedMoment]) -> list[tuple[JudgedMoment, JudgedMoment]]:
    """Return the first and last moment of each run of the same verdict and action, newest first."""
    found: list[tuple[JudgedMoment, JudgedMoment]] = []
    for moment in course:
        same = found and (found[-1][1].verdict, found[-1][1].action, found[-1][1].phase) == (
            moment.verdict,
            moment.action,
            moment.phase,
        )
        if same:
            found[-1] = (found[-1][0], moment)
        else:
            found.append((moment, moment))
    return found[::-1]


def places(course: Sequence[JudgedMoment]) -> list[float]:
    """Return where each moment is between the first (0) and the last (1)."""
    if not course:
        return []
    first, last = course[0].judged_at, course[-1].judged_at
    span = (last - first).total_seconds()
    return [((moment.judged_at - first).total_seconds() / span if span else 1.0) for moment in course]
