from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from canary.controller.store import contexts
from canary.judge.evidence import Paired
from canary.labels.parsing import Label, LabelKind
from canary.labels.store import count_labels, insert_labels, label_outcomes, label_weights_of
from canary.report.report import make_report
from canary.rollout.store import find_rollout
from runtime.postgres import Connection, connect
from runtime.reading import InputInvalid
from scoring.log.prediction import copy_text, with_propensity
from scoring.log.store import prepare_shipping, ship
from tests.support.log_rows import lines_of, paired, prediction

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Canary

NOW = datetime.now(UTC)
MATURITY = timedelta(days=30)


def label(event_id: str, kind: LabelKind, days_ago: float = 1, product: str = "fraud_score") -> Label:
    return Label(product, event_id, kind, "review", NOW - timedelta(days=days_ago))


def pair(connection: Connection, rollout_id: str, event_id: str, canary: str, production: str, days_ago: float) -> None:
    at = NOW - timedelta(days=days_ago)
    connection.execute(
        "INSERT INTO sira_paired_predictions (prediction_id, day, created_at, rollout_id, phase, product, event_id,"
        " amount, canary_score, canary_decision, production_score, production_decision)"
        " VALUES (gen_random_uuid(), %s, %s, %s, 0, 'fraud_score', %s, 12.5, 0.1, %s, 0.9, %s)",
        (at.date(), at, rollout_id, event_id, canary, production),
    )


def forty_days_ago(canary: "Canary") -> str:
    rollout_id = canary.start().rollout_id
    canary.connection.execute("UPDATE sira_canary_config SET created_at = created_at - interval '40 days'")
    return rollout_id


def test_a_label_sent_again_is_not_new(canary: "Canary", connection: Connection) -> None:
    labels = [label("e1", "fraud"), label("e2", "legitimate")]
    assert insert_labels(connection, labels, actor="tests") == 2
    assert insert_labels(connection, [*labels, label("e3", "fraud")], actor="tests") == 1


def test_labels_of_an_unregistered_product_are_all_refused(canary: "Canary", connection: Connection) -> None:
    with pytest.raises(InputInvalid, match="'fraud_scor'"):
        insert_labels(connection, [label("e1", "fraud"), label("e2", "fraud", product="fraud_scor")], actor="tests")
    assert connection.execute("SELECT count(*) FROM sira_labels").fetchone() == (0,)


def test_the_latest_label_of_a_matured_event_counts_and_younger_events_wait(
    canary: "Canary", connection: Connection
) -> None:
    rollout_id = forty_days_ago(canary)
    pair(connection, rollout_id, "wronged", "block", "allow", days_ago=35)
    pair(connection, rollout_id, "unknown", "block", "allow", days_ago=35)
    pair(connection, rollout_id, "young", "block", "allow", days_ago=2)
    pair(connection, rollout_id, "agreed", "block", "block", days_ago=36)
    insert_labels(connection, [label("wronged", "fraud", 20), label("agreed", "legitimate")], actor="tests")
    insert_labels(connection, [label("wronged", "legitimate", 10), label("young", "legitimate")], actor="tests")
    assert count_labels(connection, maturity=MATURITY) > 0

    flips, agreed = label_outcomes(connection, rollout_id)
    assert (flips.canary_decision, flips.production_decision) == ("block", "allow")
    assert (flips.events, flips.matured, flips.fraud, flips.legitimate) == (3, 2, 0, 1)
    assert (agreed.events, agreed.matured, agreed.legitimate) == (1, 1, 1)
    counted = contexts(connection, [rollout_id])[rollout_id].labels
    assert counted
    assert (counted.events, counted.matured, counted.legitimate) == (4, 3, Paired(n11=1, n10=1))


def test_counting_again_changes_nothing_until_a_later_label_arrives(canary: "Canary", connection: Connection) -> None:
    rollout_id = forty_days_ago(canary)
    pair(connection, rollout_id, "e1", "block", "allow", days_ago=35)
    insert_labels(connection, [label("e1", "fraud", 20)], actor="tests")
    for _ in range(2):
        count_labels(connection, maturity=MATURITY)
        (outcome,) = label_outcomes(connection, rollout_id)
        assert (outcome.events, outcome.fraud, outcome.legitimate) == (1, 1, 0)
    insert_labels(connection, [label("e1", "legitimate", 3)], actor="tests")
    count_labels(connection, maturity=MATURITY)
    (outcome,) = label_outcomes(connection, rollout_id)
    assert (outcome.events, outcome.fraud, outcome.legitimate) == (1, 0, 1)


def test_without_labels_there_is_nothing_to_judge(canary: "Canary", connection: Connection) -> None:
    rollout_id = canary.start().rollout_id
    assert count_labels(connection, maturity=MATURITY) >= 0
    assert contexts(connection, [rollout_id])[rollout_id].labels is None


def test_known_frauds_count_at_any_age_by_who_blocked_or_reviewed_them(
    canary: "Canary", connection: Connection
) -> None:
    rollout_id = forty_days_ago(canary)
    pair(connection, rollout_id, "both", "block", "review", days_ago=35)
    pair(connection, rollout_id, "canary", "review", "allow", days_ago=2)
    pair(connection, rollout_id, "production", "allow", "block", days_ago=1)
    pair(connection, rollout_id, "neither", "allow", "allow", days_ago=1)
    pair(connection, rollout_id, "corrected", "block", "block", days_ago=1)
    insert_labels(connection, [label(e, "fraud", 0.5) for e in ("both", "canary", "production")], actor="tests")
    insert_labels(connection, [label(e, "fraud", 0.5) for e in ("neither", "corrected")], actor="tests")
    insert_labels(connection, [label("corrected", "legitimate", 0.2)], actor="tests")
    count_labels(connection, maturity=MATURITY)
    counted = contexts(connection, [rollout_id])[rollout_id].labels
    assert counted
    assert counted.known_frauds == Paired(n11=1, n10=1, n01=1, n00=1)


def test_without_migration_006_no_fraud_is_known_and_labels_are_counted_as_before(
    canary: "Canary", connection: Connection
) -> None:
    rollout_id = forty_days_ago(canary)
    connection.execute("ALTER TABLE sira_canary_label_evidence DROP COLUMN known_fraud")
    pair(connection, rollout_id, "e", "block", "allow", days_ago=35)
    insert_labels(connection, [label("e", "fraud", 20)], actor="tests")
    count_labels(connection, maturity=MATURITY)
    counted = contexts(connection, [rollout_id])[rollout_id].labels
    assert counted
    assert (counted.matured, counted.known_frauds) == (1, None)


def known_frauds(connection: Connection, rollout_id: str, *, both: int, canary_only: int, production_only: int) -> None:
    """Label frauds among the events that both models scored, by which of the two blocks them."""
    decisions = {"both": ("block", "block"), "canary": ("block", "allow"), "production": ("allow", "block")}
    counts = {"both": both, "canary": canary_only, "production": production_only}
    events = [(f"{kind}-{n}", *decisions[kind]) for kind, count in counts.items() for n in range(count)]
    for event_id, canary, production in events:
        pair(connection, rollout_id, event_id, canary, production, days_ago=0)
    insert_labels(connection, [label(event_id, "fraud", 0) for event_id, _, _ in events], actor="tests")
    count_labels(connection, maturity=MATURITY)


def test_a_canary_that_misses_more_known_frauds_is_rolled_back_if_its_limits_have_a_recall_ratio(
    canary: "Canary", connection: Connection
) -> None:
    rollout_id = canary.start(limits={"critical_alerts": "ignore", "recall_ratio": 1.05}).rollout_id
    canary.run(60)
    assert canary.now().status == "running"
    known_frauds(connection, rollout_id, both=60, canary_only=5, production_only=40)
    canary.run(10)
    assert canary.now().status == "rolled_back"
    assert canary.verdict().reasons[0].startswith("of 105 known frauds the canary catches 65")


@pytest.mark.parametrize(
    ("limits", "production_only"), [({"recall_ratio": 1.05}, 5), ({"recall_ratio": None}, 40), ({}, 40)]
)
def test_a_canary_that_misses_as_many_or_whose_limits_have_no_recall_ratio_goes_on(
    canary: "Canary", connection: Connection, limits: dict[str, float | None], production_only: int
) -> None:
    rollout_id = canary.start(limits={"critical_alerts": "ignore", **limits}).rollout_id
    canary.run(60)
    known_frauds(connection, rollout_id, both=60, canary_only=5, production_only=production_only)
    canary.run(10)
    assert canary.now().status == "running"
    named = {measurement.name for measurement in canary.verdict().measurements}
    assert ("recall_ratio" in named) == bool(limits.get("recall_ratio"))


def test_with_a_control_group_what_passed_stands_for_what_might_have(
    canary: "Canary", connection: Connection, database_url: str
) -> None:
    """Let one of 20 blocks pass; another has a label by chance, and a third could not pass."""
    rollout_id = forty_days_ago(canary)
    at = (NOW - timedelta(days=35)).timestamp()

    def log(event_id: str, decided: tuple[str, str], answer: str, propensity: float | None = None) -> None:
        row = prediction(event_id, product="fraud_score", created_at=at, decision=answer, score=0.95)
        controlled = row if propensity is None else with_propensity(row, propensity)
        both = paired(row, rollout_id=rollout_id, phase=0, canary_decision=decided[0], production_decision=decided[1])
        with connect(database_url, name="tests", autocommit=True) as shipping:
            prepare_shipping(shipping)
            with shipping.transaction():
                ship(shipping, {**lines_of([controlled]), "paired": [copy_text([both])]})

    log("allowed", ("allow", "allow"), "allow")
    log("passed", ("allow", "block"), "review", 0.05)
    log("blocked", ("allow", "block"), "block", 0.05)
    log("too large", ("block", "block"), "block", 0.0)
    insert_labels(
        connection,
        [label(event, "legitimate", 5) for event in ("allowed", "passed", "blocked", "too large")],
        actor="tests",
    )
    count_labels(connection, maturity=MATURITY)
    weights = label_weights_of(connection, rollout_id)
    found = {(one.canary_decision, one.production_decision): (one.weight, one.squares) for one in weights}
    assert found == {("allow", "allow"): (1, 1), ("allow", "block"): (20, 400), ("block", "block"): (1, 1)}
    rollout = find_rollout(connection, rollout_id)
    assert rollout is not None
    labels = make_report(connection, rollout).labels
    assert labels.false_positive_rate == {"production": 0.75, "canary": 0.25}
    assert labels.weighted is not None
    assert labels.weighted["production"].value == pytest.approx(21 / 22)
    assert labels.weighted["canary"].value == pytest.approx(1 / 22)

    insert_labels(connection, [label("passed", "fraud", 1)], actor="tests")
    count_labels(connection, maturity=MATURITY)
    assert make_report(connection, rollout).labels.weighted is None


def test_before_migration_012_labels_are_counted_without_weights(canary: "Canary", connection: Connection) -> None:
    rollout_id = forty_days_ago(canary)
    connection.execute("ALTER TABLE sira_canary_label_evidence DROP COLUMN legitimate_weight_squares")
    pair(connection, rollout_id, "e", "block", "allow", days_ago=35)
    insert_labels(connection, [label("e", "legitimate", 20)], actor="tests")
    count_labels(connection, maturity=MATURITY)
    assert label_weights_of(connection, rollout_id) == []
