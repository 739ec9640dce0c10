import numpy as np
import pyarrow as pa
import pytest

from backtest.tally.labels import FRAUD, LEGITIMATE, UNLABELLED, LabelIndex, label_keys


def index_of(fraud: list[str], legitimate: list[str]) -> LabelIndex:
    ids = pa.array(fraud + legitimate)
    return LabelIndex(label_keys([(ids, pa.array([True] * len(fraud) + [False] * len(legitimate)))]))


def test_without_labels_no_event_has_one() -> None:
    assert LabelIndex(label_keys([])).of(pa.array(["a", "b"])).tolist() == [UNLABELLED, UNLABELLED]


def test_no_events_have_no_labels() -> None:
    assert index_of(["a"], []).of(pa.array([], pa.string())).tolist() == []


def test_each_event_gets_its_own_label() -> None:
    found = index_of(["a", "b" * 128], ["ab", "é" * 128]).of(pa.array(["ab", "a", "ba", "é" * 128, "b" * 128]))
    assert found.tolist() == [LEGITIMATE, FRAUD, UNLABELLED, LEGITIMATE, FRAUD]


def test_many_similar_ids_do_not_collide() -> None:
    ids = [f"evt-{number:09d}" for number in range(100_000)]
    index = index_of(ids[::3], ids[1::3])
    found = index.of(pa.array(ids))
    assert (found[::3] == FRAUD).all()
    assert (found[1::3] == LEGITIMATE).all()
    assert (found[2::3] == UNLABELLED).all()


def test_a_slice_of_a_column_is_looked_up_like_the_whole() -> None:
    ids = pa.array([f"e{number}" for number in range(100)])
    index = index_of(["e50"], ["e61"])
    assert index.of(ids.slice(50, 20)).tolist() == index.of(ids).tolist()[50:70]


def test_keys_never_change() -> None:
    """Stored keys, and other machines, rely on it."""
    keys = label_keys([(pa.array(["event-1", "event-2"]), pa.array([True, False]))])
    assert keys.tolist() == sorted(keys.tolist())
    assert sum(int(key) & 1 for key in keys) == 1
    assert keys.dtype == np.uint64


def test_an_id_that_the_log_cannot_have_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 128 characters"):
        label_keys([(pa.array([""]), pa.array([True]))])
