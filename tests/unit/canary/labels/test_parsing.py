import io
from datetime import UTC, datetime, timedelta

import pytest

from canary.labels.parsing import MAX_LABELS, Label, LabelsToAdd, parse_csv, parse_times
from runtime.reading import MAX_VIOLATIONS, InputInvalid, read

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROW = {
    "product": "fraud_score",
    "event_id": "e1",
    "label": "fraud",
    "source": "chargeback",
    "labelled_at": "2026-11-20T08:30:00+01:00",
}
READ = Label("fraud_score", "e1", "fraud", "chargeback", datetime(2026, 11, 20, 7, 30, tzinfo=UTC))


def parse_labels(body: object, now: datetime) -> list[Label]:
    """What POST /v1/labels does with its body."""
    return parse_times(read(LabelsToAdd, body), now)  # type: ignore[arg-type]


def test_labels_are_read_with_their_time_zone() -> None:
    assert parse_labels([ROW], NOW) == [READ]
    assert parse_labels([{**ROW, "labelled_at": "2026-11-20T07:30:00Z"}], NOW) == [READ]


def test_every_fault_of_every_label_is_named_at_once() -> None:
    with pytest.raises(InputInvalid) as refused:
        parse_labels([ROW, {**ROW, "label": "maybe", "amount": 3}, {**ROW, "event_id": ""}, 7], NOW)
    assert [(violation.pointer, violation.detail) for violation in refused.value.violations] == [
        ("/1/amount", "no such field"),
        ("/1/label", "must be fraud or legitimate"),
        ("/2/event_id", "must be text of 1 to 128 characters"),
        ("/3", "must be an object"),
    ]


@pytest.mark.parametrize("at", ["2026-11-20T08:30:00", "yesterday", "", None, 1700000000])
def test_a_time_without_a_zone_is_refused(at: object) -> None:
    with pytest.raises(InputInvalid, match="RFC 3339"):
        parse_labels([{**ROW, "labelled_at": at}], NOW)


def test_a_label_from_the_future_is_refused_beyond_the_clock_skew() -> None:
    soon = (NOW + timedelta(minutes=4)).isoformat()
    assert len(parse_labels([{**ROW, "labelled_at": soon}], NOW)) == 1
    with pytest.raises(InputInvalid, match="future"):
        parse_labels([{**ROW, "labelled_at": (NOW + timedelta(minutes=6)).isoformat()}], NOW)


@pytest.mark.parametrize("body", [[], {}, None, [ROW] * (MAX_LABELS + 1)])
def test_a_body_that_is_not_a_list_of_1_to_10_000_labels_is_refused(body: object) -> None:
    with pytest.raises(InputInvalid, match="must be a list of 1 to 10,000 items"):
        parse_labels(body, NOW)


def test_a_file_may_have_its_columns_in_any_order_and_other_columns() -> None:
    file = io.StringIO(
        "note,label,event_id,product,labelled_at,source\nx,fraud,e1,fraud_score,2026-11-20T07:30Z,chargeback\n"
    )
    assert parse_csv(file, NOW) == [READ]


def test_a_file_without_a_required_column_is_refused() -> None:
    with pytest.raises(InputInvalid, match="line 1: no column label, source;"):
        parse_csv(io.StringIO("product,event_id,labelled_at\n"), NOW)


def test_a_short_line_of_a_file_is_reported_by_its_number() -> None:
    file = io.StringIO("product,event_id,label,source,labelled_at\nfraud_score,e1,fraud\n")
    with pytest.raises(InputInvalid) as refused:
        parse_csv(file, NOW)
    assert [violation.pointer for violation in refused.value.violations] == ["line 2, source", "line 2, labelled_at"]


def test_a_file_with_many_faults_reports_the_first_of_them() -> None:
    lines = "product,event_id,label,source,labelled_at\n" + "p,e,maybe,s,2026-11-20T07:30Z\n" * 1000
    with pytest.raises(InputInvalid) as refused:
        parse_csv(io.StringIO(lines), NOW)
    assert len(refused.value.violations) == MAX_VIOLATIONS + 1
    assert refused.value.violations[-1].detail == "and there may be more"
