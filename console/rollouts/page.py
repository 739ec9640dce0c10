"""The list of rollouts, and one rollout."""

from canary.report.report import paired_decisions, sealed_pairs
from canary.rollout import store as rollout_store
from canary.rollout.store import StoredRollout
from console.pages import PageRoute, Screen, Visit, path_to
from console.rollouts import actions, start, store
from console.rollouts.course import verdict_course
from console.rollouts.progress import steps, waits_for
from console.rollouts.strip import runs, strip
from console.rollouts.tiles import OUTCOMES, checks, tiles
from edge.control.routes import Access
from edge.problems import HttpError
from runtime.postgres import Connection

MAX_LISTED = 100


def show_list(visit: Visit) -> Screen:
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        rollouts = rollout_store.all_rollouts(connection, limit=MAX_LISTED)
        names = store.names(connection, {one.canary_model_id for one in rollouts})
    return Screen("rollouts/list.html.j2", "Rollouts", "rollouts", {"rollouts": rollouts, "names": names})


def show(visit: Visit) -> Screen:
    kept = visit.console.kept
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        rollout = find(connection, visit.path["rollout_id"])
        course = verdict_course(connection, rollout.rollout_id, kept.verdicts)
        pairs = sealed_pairs(connection, rollout, kept.pairs.known([rollout.rollout_id]).get(rollout.rollout_id))
        values = {
            "rollout": rollout,
            "names": store.names(connection, (rollout.canary_model_id, rollout.production_model_id)),
            "traffic": store.requests_per_second(connection, rollout.product, visit.now),
            "phases": rollout_store.phases(connection, rollout.rollout_id),
            "rollbacks": store.rollbacks(connection, rollout.rollout_id),
            "decisions": paired_decisions(connection, rollout, pairs),
        }
    kept.pairs.keep({rollout.rollout_id: pairs})
    latest = course[-1] if course else None
    values |= {
        "steps": steps(rollout, visit.now),
        "waits_for": waits_for(rollout, latest, visit.now),
        "latest": latest,
        "tiles": tiles(course),
        "checks": checks(course),
        "outcomes": OUTCOMES,
        "strip": strip(course),
        "runs": runs(course),
        "course": course,
        "actions": actions.possible(rollout) if visit.may(Access.ML_OPS) else (),
    }
    return Screen("rollouts/page.html.j2", f"Rollout of {rollout.product}", "rollouts", values)


def find(connection: Connection, rollout_id: str) -> StoredRollout:
    rollout = rollout_store.find_rollout(connection, rollout_id)
    if rollout is None:
        raise HttpError(404, "no such rollout")
    return rollout


_ONE = f"{path_to('rollouts')}/{{rollout_id}}"
ROUTES = (
    PageRoute("GET", path_to("rollouts"), Access.VIEWER, show_list),
    *start.ROUTES,
    PageRoute("GET", _ONE, Access.VIEWER, show),
    *actions.ROUTES,
)
