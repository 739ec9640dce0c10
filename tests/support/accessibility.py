"""What axe-core finds on a page."""

from pathlib import Path
from typing import Any

AXE = Path(__file__).with_name("axe") / "axe.min.js"
SERIOUS = {"serious", "critical"}


def serious_faults(page: Any) -> list[str]:
    """Return what axe-core calls serious or critical on a Playwright page, with the elements that have it."""
    # Evaluated, not added as a script: the page's own policy would refuse that.
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {', '.join(' '.join(node['target']) for node in one['nodes'])}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]
