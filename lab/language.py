"""`python -m lab.language`: find wording in the repository that a native speaker would stop at; part of `make lint`.

A rule is a pattern, the advice, and one example of each kind, which the tests use. Add a rule when a review finds the
same wording twice.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUFFIXES = {".css", ".html", ".j2", ".js", ".lua", ".md", ".mjs", ".py", ".sh", ".sql", ".toml", ".ts", ".yaml", ".yml"}
NAMES = {".importlinter", "Dockerfile", "Makefile", "CODEOWNERS", "run"}
# This file and its test quote what they forbid; an applied migration never changes; names of packages are not ours.
EXCLUDED = {
    "lab/language.py",
    "tests/unit/lab/test_language.py",
    "migrations/001_sira_inference.sql",
    "docs/licences.md",
}

# Names are read as words: a test's name is a sentence.
_JOINED = re.compile(r"(?<=[a-z0-9])_(?=[a-z0-9])")
_MEASURED = re.compile(r"<!-- (measured|table): .*?<!-- (/measured|end of table) -->", re.DOTALL)
_SENTENCE_START = r"(?:^\s*|[.!;] |(?<!\#)\# |-- |\"\"\")"
_VERBS = "answers|fits|gives|holds|knows|loads|matters|needs|scores|serves|starts|takes"
_KINDS = "boolean|date|float|float32|int32|int64|integer|list|number|object|string|text|truth value|UUID|valid"
_UNITS = "second|minute|hour|day|week|month|quarter|year|time"
_COUNTED = "block|column|core|entry|file|lane|line|model|object|partition|process|row|run|statement|test|thread|worker"


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` must not occur in files that end in `suffix`; a space in it also matches a line break."""

    pattern: str
    advice: str
    bad: str
    good: str
    suffix: str = ""

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        return re.finditer(self.pattern.replace(" ", r"(?: |\s*\n\s*(?:\# |-- )?)"), text, re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fault:
    """`line` counts from 1; `found` is the wording on one line."""

    path: str
    line: int
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found!r}: {self.advice}"


RULES = (
    Rule(
        r"\b_?(?:MOST|LONGEST|LARGEST|SHORTEST|SMALLEST|FEWEST|HIGHEST|LOWEST)_[A-Z_]+\b|\b_?TOGETHER\b",
        "name limits MAX_, MIN_ or DEFAULT_",
        "MOST_LABELS = 10_000",
        "MAX_LABELS = 10_000",
        ".py",
    ),
    Rule(r"(?i)\bfor ever\b", "forever", "kept for ever", "kept forever, and for every rollout"),
    Rule(r"(?i)\binterpreter's lock\b", "the GIL", "the interpreter's lock", "the GIL of the interpreter"),
    Rule(
        r"(?i)\b(?:un)?told\b",
        "reported, sent, notified, distinguished, or the plain verb",
        "the controller is told by a line",
        "the controller receives a line",
    ),
    Rule(r"(?i)\b(?:hears|heard|unheard)\b", "receives", "the callback hears each", "the callback receives each"),
    Rule(
        rf"\b(?:{_VERBS}) not\b(?! only)",
        "negate with does not or cannot",
        "The artifact loads not.",
        "It needs not only time; it does not load.",
    ),
    Rule(
        rf"(?i)(?<!there\s)\b(?:is|are) no (?:{_KINDS})\b",
        "is not a ...",
        "the default of x is no int32",
        "the default of x is not a valid int32; there is no date",
    ),
    Rule(
        rf"{_SENTENCE_START}(?:Who|Whom|Whose) [^.?]+\.",
        "a sentence needs a subject: name who",
        "# Who is not known takes no room.",
        "# Who may promote? Unknown callers take no slot.",
    ),
    Rule(
        rf"{_SENTENCE_START}Whether ",
        "Return whether ...",
        '"""Whether none is left.',
        '"""Return whether none is left.',
    ),
    Rule(r'"""Of ', "name what the value is", '"""Of any error.', '"""Problem document for any error.', ".py"),
    Rule(
        rf"(?i)\b(?:one|a) (?:{_COUNTED}) an? (?!{_UNITS})[a-z]+",
        "per or each, not a distributive a",
        "one run a model",
        "one run per model, one row a second",
    ),
    Rule(
        r"(?i)\b(?:theatre|(?:the|our|off|on) (?:cast|stage)\b|lab\.demo\.(?:cast|stage))\b",
        "no metaphors: run, traffic, processes",
        "the stage is set by the cast",
        "the staging table, a stage of the build, and cast(int, x)",
    ),
    Rule(r"(?i)\blet be\b", "ignored, or dropped", "it is let be", "let it be known"),
    Rule(r"(?i)\banew\b", "again", "counted anew", "counted again"),
    Rule(r"(?i)\bmend(?:s|ed|ing)?\b", "fix, or restore", "mend Postgres", "recommend fixing Postgres"),
    Rule(
        r"(?i)\b(?:those|pods|ones) of before\b", "earlier", "Those of before are refused", "Earlier tokens are refused"
    ),
    Rule(r"(?i)\bbelongs? into\b", "belongs in", "it belongs into a pipeline", "it belongs in a pipeline"),
    Rule(r"(?i)\bas things stand\b", "Conflict", "cannot be done as things stand", "Conflict"),
    Rule(r"(?i)\bsomeone must look\b", "needs review", "someone must look", "needs review"),
    Rule(r"(?i)\bsays? (?:itself|so itself)\b", "name the reason", "the pod says itself why", "the pod reports why"),
    Rule(r"(?i)\binstant way back\b", "instant rollback", "the instant way back", "instant rollback"),
    Rule(r"(?i)\bFor machines\.", "Print JSON.", 'help="For machines."', 'help="Print JSON."'),
    Rule(r"\b(?:TODO|FIXME|XXX)\b", "do it, or open an issue", "# TODO: later", "# See issue 12."),
)


def faults(path: str, text: str) -> Iterator[Fault]:
    """Yield each forbidden wording of a file, rule by rule; figures that a command wrote are left out."""
    text = _MEASURED.sub(lambda block: "\n" * block.group().count("\n"), text)
    text = _JOINED.sub(" ", text)
    for rule in RULES:
        if path.endswith(rule.suffix):
            for match in rule.matches(text):
                line = text.count("\n", 0, match.start()) + 1
                yield Fault(path, line, " ".join(match.group().split()), rule.advice)


def in_scope(path: str) -> bool:
    """Return whether the file's wording is ours to choose."""
    return (Path(path).suffix in SUFFIXES or Path(path).name in NAMES) and path not in EXCLUDED


def main() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    paths = [path for path in sorted(listed) if in_scope(path) and (ROOT / path).is_file()]
    found = [fault for path in paths for fault in faults(path, (ROOT / path).read_text())]
    for fault in found:
        print(fault)
    if found:
        sys.exit(f"language: {len(found)} to reword in {len({fault.path for fault in found})} files")
    print(f"language: {len(paths)} files read well")


if __name__ == "__main__":
    main()
