"""`make screenshots`: the README's pictures of the console, from a run of its own with traffic and a rollout."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
from playwright.sync_api import Page, sync_playwright

from lab.demo.recipes import PRODUCT
from lab.demo.rollouts import LIMITS
from lab.demo.running import MakeRun, await_ready, start_isolated
from lab.demo.transactions import transactions
from lab.errors import LabError
from lab.load.callers import Callers
from lab.waiting import wait_until
from runtime.postgres import connect

FOLDER = Path("docs/console")
WIDTH, HEIGHT = 1280, 860
RATE = 60.0
# Long enough for a course to be seen.
TRAFFIC_SECONDS = 90.0
PLAN = {
    "name": "careful",
    "steps": [
        {"percent": 10, "bake_seconds": 30},
        {"percent": 25, "bake_seconds": 240},
        {"percent": 50, "bake_seconds": 3_600},
        {"percent": 100, "bake_seconds": 7_200, "gate": "manual"},
    ],
}


class NoChromium(LabError):
    def __init__(self) -> None:
        super().__init__("Chromium is not installed: on Debian, `apt-get install chromium`")


def take(run: MakeRun, chromium: str) -> None:
    """Start a rollout under traffic and take every picture."""
    operator = run.operator()
    staged = operator.get(f"/v1/models?product={PRODUCT}&status=staging")["models"][0]
    payloads = list(transactions(20_000, seed=17).payloads())
    with Callers(run.port, run.environment["INTERNAL_SERVICE_TOKEN"], PRODUCT, payloads, RATE, prefix="payment"):
        body = {"product": PRODUCT, "canary_percent": 10, "canary_model_id": staged["model_id"], "plan": PLAN}
        rollout = operator.post("/v1/canary", {**body, "limits": LIMITS, "reason": "quarterly retraining"})
        print(f"traffic for {TRAFFIC_SECONDS:.0f} s", flush=True)
        time.sleep(TRAFFIC_SECONDS)
        wait_until(lambda: _blocked(run) is not None, 30, "a blocked payment is in the log")
        pages = {
            "overview": "/console",
            "rollout": f"/console/rollouts/{rollout['rollout_id']}",
            "decision": f"/console/decisions/{_blocked(run)}",
        }
        _take_pages(run, chromium, pages)


def _take_pages(run: MakeRun, chromium: str, pages: Mapping[str, str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            size = {"width": WIDTH, "height": HEIGHT}
            context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            _sign_in(page, run)
            for name, path in pages.items():
                page.goto(f"http://localhost:{run.control_port}{path}")
                picture = FOLDER / f"{name}-{scheme}.png"
                page.screenshot(path=picture)
                print(f"{picture}: {picture.stat().st_size // 1024} kB", flush=True)
            context.close()
        browser.close()


def _sign_in(page: Page, run: MakeRun) -> None:
    page.goto(f"http://localhost:{run.control_port}/")
    page.get_by_label("Token").fill(run.environment["ML_OPS_TOKEN"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console?notice=signed_in")


def _blocked(run: MakeRun) -> str | None:
    """Return the id of a blocked payment, or None."""
    with connect(run.environment["DATABASE_URL"], name="screenshots", autocommit=True) as connection:
        row = connection.execute(
            "SELECT prediction_id::text FROM sira_predictions WHERE decision = 'block' AND variant = 'production'"
            " ORDER BY created_at LIMIT 1"
        ).fetchone()
    return row[0] if row else None


def main() -> None:
    chromium = shutil.which("chromium")
    try:
        if chromium is None:
            raise NoChromium
        with tempfile.TemporaryDirectory(prefix="sira-screenshots-") as folder:
            os.chmod(folder, 0o755)  # the embedded Postgres runs as another user where we are root
            run = start_isolated(Path(folder) / "sira", {"WORKERS": "1"})
            try:
                await_ready(run)
                take(run, chromium)
            finally:
                run.stop()
                run.process.kill()
    except (LabError, psycopg.Error) as error:
        sys.exit(f"make screenshots: {str(error).strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
