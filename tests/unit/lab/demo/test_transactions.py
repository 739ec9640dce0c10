import json

from lab.demo.transactions import DEFAULTS, NUMBERS, STRINGS, transactions


def test_the_same_seed_gives_the_same_payments_and_another_seed_others() -> None:
    first, again, other = (list(transactions(50, seed=seed).payloads()) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_between_two_and_three_percent_are_fraud() -> None:
    assert 0.02 < transactions(50_000, seed=5).fraud.mean() < 0.03


def test_a_payload_is_json_and_holds_every_column() -> None:
    payload = next(transactions(1, seed=1).payloads())
    assert json.loads(json.dumps(payload)) == payload
    assert set(payload) == {*STRINGS, *NUMBERS}
    assert DEFAULTS.keys() < payload.keys()


def test_amounts_are_positive_and_hours_on_the_clock() -> None:
    columns = transactions(20_000, seed=3).columns
    assert columns["amount"].min() > 0
    assert columns["hour"].min() >= 0
    assert columns["hour"].max() <= 23
    assert columns["attempts_last_hour"].min() >= 1
