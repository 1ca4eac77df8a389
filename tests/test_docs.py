"""What README and docs promise of themselves. Their code blocks are tests of their own: see documents.py."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from documents import blocks
from sybil.evaluators.skip import Skipper

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
RUN, MARKED = 55, 37
"""How many shell and Python blocks run, and how many need a download or hours."""


def shown(page: Path) -> list[tuple[str, str]]:
    """The code blocks that a reader sees: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_block_runs_or_says_why_not() -> None:
    run, marked, reasons = 0, 0, []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        skip = False
        for example in blocks.parse(page).examples():
            if isinstance(example.region.evaluator, Skipper):
                action, reason = example.parsed
                assert action == "next", page
                reasons.append(reason)
                skip = True
                continue
            start = text[example.region.start : example.region.start + 10]
            if start.startswith(("```bash", "```python")):
                run, marked = run + (not skip), marked + skip
            skip = False
        languages = {language for language, _ in shown(page)}
        assert languages <= {"bash", "python", "yaml", "text", "bibtex"}, page
    assert all(reason and len(reason) > 10 for reason in reasons)
    assert (run, marked) == (RUN, MARKED)
    assert len(reasons) == marked


def test_readme_can_be_taken_in() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.stem
)
def test_a_page_says_what_it_is_for_and_shows_code_first(page: Path) -> None:
    title, purpose, rest = page.read_text(encoding="utf-8").split("\n\n", 2)
    assert title.startswith("# ")
    assert purpose.startswith("*After this page ")
    assert purpose.endswith("*")
    assert "```" in rest.split("\n## ")[0]


def test_every_file_of_the_code_is_in_the_tree_and_only_those() -> None:
    (tree,) = [text for language, text in shown(ROOT / "docs" / "architecture.md") if language == "text"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {
        Path(name).name
        for name in listed.stdout.split()
        if name.endswith((".py", ".sh")) and not re.match(r"tests/|examples/|.*/__init__", name)
    }
    named = set(re.findall(r"[\w-]+\.(?:py|sh)\b", tree))
    assert named == tracked


def test_the_diagrams_are_as_drawn_and_name_files_that_exist() -> None:
    from diagrams import DIAGRAMS, svg

    for name, diagram in DIAGRAMS.items():
        assert (ROOT / "docs" / f"{name}.svg").read_text(encoding="utf-8") == svg(diagram)
        for _, files, _ in diagram.steps:
            folder = ""
            for file in files.split(", "):
                folder = file.rpartition("/")[0] or folder
                path = Path(file) if "/" in file else Path(folder, file)
                assert (ROOT / path).exists() or (ROOT / "simedit" / path).exists(), file
