from backtest.request import BacktestToRun
from backtest.unknown_fields import asked_fields, unknown_fields

KNOWN = {"amount", "country", "ip_country", "merchant_category"}


def faults(*segments: str, **values: str) -> dict[str, str]:
    asked = asked_fields(BacktestToRun("m", segments=list(segments), **values))  # type: ignore[arg-type]
    return {violation.pointer: violation.detail for violation in unknown_fields(asked, KNOWN, "cards")}


def test_known_fields_and_no_fields_are_not_faults() -> None:
    assert faults() == {}
    assert faults("country", "merchant_category", amount_field="ip_country") == {}


def test_every_misspelt_field_is_named_with_the_names_that_were_meant() -> None:
    assert faults("merchant_catgory", "country", "ip_contry", amount_field="Amount") == {
        "/segments/0": "no event of cards has merchant_catgory; did you mean merchant_category?",
        "/segments/2": "no event of cards has ip_contry; did you mean ip_country or country?",
        "/amount_field": "no event of cards has Amount; did you mean amount?",
    }


def test_a_name_like_no_other_is_answered_with_the_known_ones() -> None:
    assert faults("zzz") == {
        "/segments/0": "no event of cards has zzz; its fields are amount, country, ip_country, merchant_category"
    }


def test_a_list_of_many_fields_is_cut() -> None:
    (violation,) = unknown_fields({"/segments/0": "zzz"}, {f"f{n:04}" for n in range(2_000)}, "cards")
    assert violation.detail.endswith("f0018, f0019 and 1980 more")


def test_the_default_amount_need_not_exist() -> None:
    asked = asked_fields(BacktestToRun("m", amount_field="amount"))
    assert list(unknown_fields(asked, {"country"}, "cards")) == []


def test_a_field_cannot_write_control_characters_into_an_answer() -> None:
    (violation,) = unknown_fields({"/segments/0": "a\x1b[31m"}, {"country"}, "cards")
    assert violation.detail.isprintable()
