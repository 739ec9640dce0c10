import json

import pytest
from click.testing import CliRunner

from lab.benchmarks.canary.__main__ import main


@pytest.mark.timeout(900)
def test_the_judge_reaches_every_figure_in_the_short_simulation() -> None:
    outcome = CliRunner().invoke(main, ["--quick", "--json"])
    figures = json.loads(outcome.stdout)["figures"]
    assert [figure for figure in figures if not figure["reached"]] == []
    assert outcome.exit_code == 0
