from pathlib import Path

from runtime.build import Build, build_of

DESCRIPTION = "name: sira_inference\nversion: abc\nlabels: {commit: abc123, version: v1.0.0}\n"


def test_a_bento_says_its_release_its_commit_and_its_tag(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "bento.yaml").write_text(DESCRIPTION)
    assert build_of(tmp_path / "src") == Build("v1.0.0", "abc123", "sira_inference:abc")


def test_a_bento_without_our_labels_still_says_its_tag(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "bento.yaml").write_text("name: sira_inference\nversion: abc\nlabels: {}\n")
    assert build_of(tmp_path / "src") == Build("unknown", "unknown", "sira_inference:abc")


def test_a_checkout_says_its_commit() -> None:
    build = build_of(Path(__file__).parents[3])
    assert (build.version, build.bento) == ("checkout", "none")
    assert len(build.commit) == 40


def test_a_folder_that_is_neither_says_so(tmp_path: Path) -> None:
    assert build_of(tmp_path) == Build("checkout", "unknown", "none")
