"""Documents and repository files: what they point to exists, and what they promise to run is what runs."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
# Paths inside a container, a Bento or a bucket, and files that a run creates, start otherwise.
OUR_PATH = re.compile(
    r"(?:\.ci|archive|backtest|canary|docs|edge|grafana|k8s|lab|migrations|monitoring|registry|runtime|scoring|tests)/[\w./-]*"
)


def documents() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text())


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> Iterator[str]:
    for target in LINK.findall(prose(document)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (document.parent / name).resolve() if name else document
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            yield target


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    assert list(broken_links(document)) == []


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_of_this_repository_that_a_document_names_exists(document: Path) -> None:
    named = [code for code in CODE.findall(prose(document)) if OUR_PATH.fullmatch(code)]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (str(document.relative_to(ROOT)), target)
        for document in documents()
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)
    }
    assert {target for _, target in named} > {"run", "test", "lint"}
    assert {pair for pair in named if pair[1] not in targets} == set()


def test_a_broken_link_and_a_missing_heading_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One, two\n[a](#one-two) [b](#three) [c](gone.md)\n```\n[d](fenced.md)\n```\n")
    assert list(broken_links(page)) == ["#three", "gone.md"]


def test_the_commit_hook_and_the_workflow_run_what_contributors_run() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [hook["entry"] for repository in hooks["repos"] for hook in repository["hooks"]] == ["make lint"]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["test"]["steps"]
    assert "exec make test" in (ROOT / ".ci/run").read_text()


def test_the_project_file_names_the_licence_that_the_repository_has() -> None:
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
    assert (ROOT / "LICENSE").read_text().split()[:5] == ["Apache", "License", "Version", "2.0,", "January"]


def test_the_figures_of_the_judge_are_those_that_its_benchmark_measured() -> None:
    results = json.loads((ROOT / "lab/benchmarks/canary/results.json").read_text())
    figures = {(one["case"], one["what"]): one["measured"] for one in results["figures"]}
    false = {one["method"]: one["false_rollbacks"] for one in results["baselines"]}
    readme, judging = ((ROOT / name).read_text() for name in ("README.md", "docs/judging.md"))
    naive = false["ratio > 1.5 at every tick, 100 requests at least"]
    assert f"rolls back {naive:.0%} of healthy canaries".replace("%", " %") in judging
    assert (false["five failed one-minute checks in total"], results["size"]["healthy_replicas"]) == (1.0, 400)
    assert "five failed one-minute checks rolls back all of 400 healthy canaries" in readme
    assert false["Mann-Whitney every hour"] == 0.0
    assert figures["healthy canary", "% rolled back in 24 h, of 400"] == 0.0
    assert "0 of 400 are rolled back" in readme
    delay = figures["errors 0.3 % -> 1.5 %", "seconds, median"]
    assert f"five times the errors is rolled back after {delay:g} s in the median" in readme
