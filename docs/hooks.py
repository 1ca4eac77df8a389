"""What mkdocs does beyond the pages: README, NOTES, RESULTS and CONTRIBUTING are pages of the site without a
copy, and the API reference is filled from docstrings. Their links work on GitHub as plain files, and here."""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SHOWN = {
    "README.md": "index.md",
    "NOTES.md": "notes.md",
    "benchmarks/RESULTS.md": "results.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Files of the repository, by the pages that show them."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_MODULE = re.compile(r"^\| `(simedit[\w.]*)` \|", re.MULTILINE)
_log = get_plugin_logger("docs")


def on_startup(**_: Any) -> None:
    """The docstrings are read from files, so the folders are laid out as the one package they install as."""
    package = ROOT / "build" / "reference" / "simedit"
    shutil.rmtree(package, ignore_errors=True)
    for folder in ("simedit", "policies", "envs", "eval", "lab"):
        to = package if folder == "simedit" else package / folder
        shutil.copytree(ROOT / folder, to, ignore=shutil.ignore_patterns("data", "__pycache__"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in SHOWN.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(text: str, page: Page, files: Files, **_: Any) -> str:
    pages = {page: source for source, page in SHOWN.items()}
    source = pages.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(found: re.Match[str]) -> str:
        mark, label, target, anchor = found[1], found[2], found[3], found[4] or ""
        if not target or "://" in target:
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in SHOWN:
            return f"[{label}]({SHOWN[path]}{anchor})"
        if path.startswith("docs/"):
            return f"{mark}[{label}]({path.removeprefix('docs/')}{anchor})"
        if not (ROOT / path).exists():
            _log.warning("%s links to %s, which is not there", source, target)
        return label  # a file of the code, which the site does not show

    text = _LINK.sub(link, text)
    if page.file.src_uri == "reference.md":
        names = _MODULE.findall(text)
        text = _MODULE.sub(r"| [`\1`][\1] |", text) + "\n" + "\n\n".join(f"::: {name}" for name in names)
    return text


def on_post_page(output: str, **_: Any) -> str:
    """The theme's search would ask a server for what docs/worker.js does, where pages are opened as files."""
    return output.replace("https://unpkg.com/iframe-worker/shim", "worker.js")


on_post_template = on_post_page
