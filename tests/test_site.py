"""The documentation as a site: it builds without a warning, asks no network, and knows dead links."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs the extra: docs")
ROOT = Path(__file__).parents[1]


def build(root: Path, to: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        str(root / "mkdocs.yml"),
        "-d",
        str(to),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


SHOWN = {".py", ".md", ".yml", ".css", ".js", ".png", ".jpg", ".webp", ".svg", ".yaml"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site") / "simedit"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if Path(name).suffix in SHOWN or name == "LICENSE":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    return root


def test_it_builds_and_asks_the_network_for_nothing(copy: Path, tmp_path: Path) -> None:
    done = build(copy, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {page.stem: page.read_text(encoding="utf-8") for page in tmp_path.glob("*.html")}
    assert {
        "index",
        "notes",
        "results",
        "contributing",
        "reference",
        *(p.stem for p in ROOT.glob("docs/*.md")),
    } <= set(pages)
    for name, text in pages.items():
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]*\b(?:src|href)="((?:https?:)?//[^"]+)"', text)
        assert not loaded, name
    assert "simedit.wrapper.EditObservation" in pages["reference"]
    assert "mmrv" in pages["reference"]
    assert 'href="notes.html#training"' in pages["five-photographs"]


@pytest.mark.parametrize("link", ["wrap.md#no-such-part", "nowhere.md", "../simedit/nowhere.py"])
def test_a_dead_link_fails(copy: Path, tmp_path: Path, link: str) -> None:
    page = copy / "docs" / "speed.md"
    before = page.read_text(encoding="utf-8")
    page.write_text(f"{before}\n[dead]({link})\n", encoding="utf-8")
    try:
        done = build(copy, tmp_path)
    finally:
        page.write_text(before, encoding="utf-8")
    assert done.returncode == 1
    assert "speed.md" in done.stderr
