"""What holds for every page: people who cannot see well can use it, at any width, in light and in dark."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from lab.demo.running import StartedRun
from runtime.auth import Role
from runtime.postgres import connect
from tests.browser.conftest import Person, visitors
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


@pytest.fixture(scope="module")
def someone(browser: Browser, served: StartedRun) -> Iterator[Person]:
    """One person for the whole module: signing in and a window of one's own take longer than the checks."""
    with visitors(browser, served) as arrive:
        yield arrive(Role.ml_ops)


@pytest.fixture(scope="module", params=PAGES)
def opened(someone: Person, request: pytest.FixtureRequest) -> Page:
    """Each page, loaded once for all tests: none of them changes it but by the window's size, colours and focus."""
    return someone.open(request.param)


@pytest.fixture(scope="module", autouse=True)
def cohort(served: StartedRun) -> None:
    """Store a matured week with labels, so that the page of health shows every chart."""
    with connect(served.environment["DATABASE_URL"], name="tests", autocommit=True) as connection:
        connection.execute(
            "INSERT INTO sira_cohort_sums SELECT product, (date_trunc('week', now()) - interval '8 weeks')::date,"
            " model_id, bin, 'allow', 'allow', label, n, n, n, n * 0.05 * (bin - 11), n * (0.05 * (bin - 11)) ^ 2, n, n"
            " FROM siramodel_registry, generate_series(13, 20) AS bin, (VALUES ('any', 90), ('fraud', 9),"
            " ('legitimate', 50)) AS counted (label, n) WHERE product = 'fraud_score' AND status = 'production'"
        )
        connection.execute(
            "INSERT INTO sira_cohort_label_ages SELECT product, (date_trunc('week', now()) - interval '8 weeks')::date,"
            " model_id, 'fraud', age, 9 FROM siramodel_registry, generate_series(0, 7) AS age"
            " WHERE product = 'fraud_score' AND status = 'production'"
        )


def test_the_page_of_health_draws_cohorts_without_a_script(visitor: Callable[..., Any]) -> None:
    page = visitor(Role.viewer, java_script_enabled=False).open("/console/health/fraud_score")
    assert page.get_by_role("heading", name="Performance by cohort").is_visible()
    for chart in ("Reliability diagram", "Maturation curve"):
        assert page.get_by_role("img", name=chart).is_visible()
    assert page.get_by_text("no value yet").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened: Page, scheme: Literal["light", "dark"]) -> None:
    opened.emulate_media(color_scheme=scheme)
    # Buttons fade from one scheme to the other: between them, their contrast is nobody's.
    opened.evaluate("Promise.all(document.getAnimations().map(one => one.finished)).then(() => null)")
    assert serious_faults(opened) == []


@pytest.mark.parametrize("width", [360, 768, 2560])
def test_no_page_scrolls_sideways(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_tab_skips_to_the_content(opened: Page) -> None:
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "Skip to the content"
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_sign_in_page(visitor: Callable[..., Any], scheme: str) -> None:
    page = visitor(color_scheme=scheme).open("/console/sign-in")
    page.get_by_text("What each role may do").click()
    assert serious_faults(page) == []
