"""What holds for every page: people who cannot see well can use it, at any width, in light and in dark."""

from collections.abc import Callable
from typing import Any

import pytest

from runtime.auth import Role
from tests.support.accessibility import serious_faults

PAGES = [
    "/console",
    "/console/rollouts",
    "/console/rollouts/start",
    "/console/decisions",
    "/console/models",
    "/console/backtests",
    "/console/backtests/start",
    "/console/health",
    "/console/health/fraud_score/breaker",
    "/console/health/fraud_score/control-group",
    "/console/audit",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(visitor: Callable[..., Any], path: str, scheme: str) -> None:
    page = visitor(Role.ml_ops, color_scheme=scheme).open(path)
    assert serious_faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_sign_in_page(visitor: Callable[..., Any], scheme: str) -> None:
    page = visitor(color_scheme=scheme).open("/console/sign-in")
    page.get_by_text("What each role may do").click()
    assert serious_faults(page) == []


@pytest.mark.parametrize("width", [360, 768, 2560])
@pytest.mark.parametrize("path", PAGES)
def test_no_page_scrolls_sideways(visitor: Callable[..., Any], path: str, width: int) -> None:
    page = visitor(Role.ml_ops, viewport={"width": width, "height": 900}).open(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", PAGES)
def test_the_first_tab_skips_to_the_content(visitor: Callable[..., Any], path: str) -> None:
    page = visitor(Role.ml_ops).open(path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
