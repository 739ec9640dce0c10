"""The word list of `make lint`: every rule fires on its bad example and stays silent on its good one."""

import pytest

from lab.language import RULES, Rule, faults, in_scope


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.advice)
def test_a_rule_finds_its_bad_example_and_gives_the_advice(rule: Rule) -> None:
    assert rule.advice in [fault.advice for fault in faults("a.py", f"first\n{rule.bad}\n")]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.advice)
def test_a_good_example_breaks_no_rule(rule: Rule) -> None:
    assert list(faults("a.py", f"first\n{rule.good}\n")) == []


@pytest.mark.parametrize("text", ["kept for\never", "# kept for\n    # ever", "-- kept for\n-- ever"])
def test_wording_is_found_across_a_line_break(text: str) -> None:
    assert [(fault.line, fault.advice) for fault in faults("a.md", text)] == [(1, "forever")]


def test_a_name_is_read_as_a_sentence() -> None:
    assert [fault.found for fault in faults("a.py", "def test_rows_are_kept_for_ever():")] == ["for ever"]


def test_a_fault_names_its_file_and_line() -> None:
    (fault,) = faults("docs/a.md", "one\ntwo\nkept for ever\n")
    assert str(fault) == "docs/a.md:3: 'for ever': forever"


def test_a_table_that_a_command_wrote_is_left_alone_and_lines_after_it_keep_their_number() -> None:
    text = "<!-- measured: x -->\nfor ever\n<!-- /measured -->\nfor ever\n"
    assert [fault.line for fault in faults("a.md", text)] == [4]


def test_names_of_constants_are_checked_in_python_only() -> None:
    assert list(faults("a.md", "MOST_LABELS")) == []


def test_an_applied_migration_and_the_rules_themselves_are_left_alone() -> None:
    assert not in_scope("migrations/001_sira_inference.sql")
    assert not in_scope("lab/language.py")
    assert not in_scope("requirements.lock")
    assert in_scope("docs/operations.md")
    assert in_scope("Makefile")
