"""The control group in the running product: switched on over HTTP, it lets a share of blocks through, and stops."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from lab.demo.running import StartedRun
from runtime.postgres import Connection, connect
from tests.support.table_model import table_model

PRODUCT = "controlled"
SHARE = 0.05
# By amount: 0 is allowed, 1 and up is blocked.
SCORES = [0.1, 0.95, 0.95, 0.95]
GROUP = f"/v1/control-group/{PRODUCT}"


@pytest.fixture(scope="module")
def client(served: StartedRun) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30) as opened:
        form = {"product": PRODUCT, "name": "table", "version": "1"}
        person = served.bearer("ML_OPS_TOKEN")
        registered = opened.post(
            "/v1/models", data=form, files={"file": ("m.onnx", table_model(SCORES))}, headers=person
        )
        path = f"/v1/models/{registered.json()['model_id']}/promote"
        assert opened.post(path, json={"target": "production"}, headers=person).status_code == 200
        yield opened


@pytest.fixture
def connection(served: StartedRun) -> Iterator[Connection]:
    with connect(served.environment["DATABASE_URL"], name="tests", autocommit=True) as opened:
        yield opened


def decisions(client: httpx.Client, served: StartedRun, run: str, amount: int, number: int) -> dict[str, str]:
    """Send events in batches, until none is answered 503; return the decision of each."""
    found: dict[str, str] = {}
    deadline = time.monotonic() + 30
    for first in range(0, number, 500):
        ids = [f"{run}-{n}" for n in range(first, min(number, first + 500))]
        events = [{"event_id": one, "product": PRODUCT, "payload": {"amount": amount}} for one in ids]
        while True:
            answered = client.post("/v1/infer/batch", json={"events": events}, headers=served.bearer())
            results: list[dict[str, Any]] = answered.json().get("results", [])
            if results and all("answer" in one for one in results):
                break
            assert time.monotonic() < deadline, answered.text[:500]
            time.sleep(0.1)
        found |= {one: result["answer"]["decision"] for one, result in zip(ids, results, strict=True)}
    return found


def until(true: Any, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_share_of_blocks_is_reviewed_and_logged_with_its_propensity_until_it_is_switched_off(
    client: httpx.Client, served: StartedRun, connection: Connection
) -> None:
    person, run = served.bearer("ML_OPS_TOKEN"), uuid4().hex
    assert client.get(GROUP, headers=person).status_code == 404
    assert set(decisions(client, served, f"off-{run}", 1, 500).values()) == {"block"}

    body = {"enabled": True, "share": SHARE, "max_per_day": 10_000, "max_amount": 2, "reason": "to measure"}
    assert client.post(GROUP, json=body, headers=person).json()["answer"] == "review"
    until(lambda: "review" in decisions(client, served, uuid4().hex, 1, 500).values())
    given = decisions(client, served, f"on-{run}", 1, 4000)
    assert set(given.values()) == {"block", "review"}
    assert set(decisions(client, served, f"large-{run}", 3, 500).values()) == {"block"}
    assert set(decisions(client, served, f"good-{run}", 0, 500).values()) == {"allow"}
    assert (
        decisions(client, served, f"on-{run}", 1, 4000).items()
        >= {e: d for e, d in given.items() if d == "review"}.items()
    )

    until(lambda: _logged(connection, run) == 4000 + 3 * 500)
    rows = connection.execute(
        "SELECT p.event_id, p.decision, p.decision_model, p.propensity FROM sira_predictions p WHERE event_id LIKE %s",
        (f"on-{run}-%",),
    ).fetchall()
    assert {(event, decision) for event, decision, _, _ in rows} == set(given.items())
    assert {decided for _, _, decided, _ in rows} == {"block"}
    assert {propensity for *_, propensity in rows} <= {SHARE, 0.0}
    eligible = [decision for _, decision, _, propensity in rows if propensity]
    passed = Counter(eligible)["review"]
    # Five standard deviations of a binomial.
    assert abs(passed - SHARE * len(eligible)) < 5 * (SHARE * len(eligible)) ** 0.5
    assert {p for _, decision, _, p in rows if decision == "review"} == {SHARE}
    large = connection.execute(
        "SELECT DISTINCT propensity FROM sira_predictions WHERE event_id LIKE %s", (f"large-{run}-%",)
    )
    assert large.fetchall() == [(0.0,)]
    other = connection.execute(
        "SELECT count(*) FROM sira_predictions WHERE event_id LIKE ANY(%s) AND propensity IS NOT NULL",
        ([f"off-{run}-%", f"good-{run}-%"],),
    )
    assert other.fetchone() == (0,)

    shown = client.get(GROUP, headers=person).json()
    assert shown["today"]["let_through"] >= passed
    listed = client.get("/v1/models", params={"product": PRODUCT}, headers=person).json()["control_groups"]
    assert [one for one in listed if one["product"] == PRODUCT] == [shown]

    assert client.post(GROUP, json={"enabled": False, "reason": "done"}, headers=person).json()["enabled"] is False
    until(lambda: set(decisions(client, served, uuid4().hex, 1, 500).values()) == {"block"})
    audited = connection.execute(
        "SELECT actor, action, reason FROM sira_audit_log WHERE subject = %s AND action LIKE 'control_group.%%'"
        " ORDER BY seq",
        (PRODUCT,),
    ).fetchall()
    assert [row[1:] for row in audited] == [("control_group.set", "to measure"), ("control_group.set", "done")]


def test_all_workers_together_let_through_at_most_the_day_s_limit(
    client: httpx.Client, served: StartedRun, connection: Connection
) -> None:
    person, run = served.bearer("ML_OPS_TOKEN"), uuid4().hex
    today = datetime.now(UTC).date()
    taken = connection.execute(
        "SELECT coalesce(max(taken), 0) FROM sira_control_slots WHERE product = %s AND day = %s", (PRODUCT, today)
    ).fetchone()
    assert taken
    limit = taken[0] + 7
    body = {"enabled": True, "share": SHARE, "max_per_day": limit, "max_amount": 2, "reason": "the limit"}
    assert client.post(GROUP, json=body, headers=person).status_code == 200
    for number in range(8):
        decisions(client, served, f"{run}-{number}", 1, 500)
        time.sleep(0.5)
    until(lambda: _logged(connection, run) == 4000)
    counted = connection.execute(
        "SELECT let_through FROM sira_control_days WHERE product = %s AND day = %s", (PRODUCT, today)
    )
    let_through = (counted.fetchone() or (0,))[0]
    client.post(GROUP, json={"enabled": False, "reason": "done"}, headers=person)
    assert let_through <= limit or datetime.now(UTC).date() != today


def _logged(connection: Connection, run: str) -> int:
    row = connection.execute("SELECT count(*) FROM sira_predictions WHERE event_id LIKE %s", (f"%{run}%",)).fetchone()
    return row[0] if row else 0
