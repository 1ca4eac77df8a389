"""Recipes of tiny specialists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simedit.config import parse_config
from simedit.recipe import Recipe, RecipeConfig


def make_recipe(library: Path, name: str, *passes: dict[str, Any], **settings: Any) -> Path:
    """A recipe's folder in a library, beside the specialists that its passes name."""
    given = [{**one, "specialist": str(library / one["specialist"])} for one in passes]
    config = parse_config(RecipeConfig, {"name": name, "passes": given, **settings}, where=name)
    Recipe.made(config).save(library / name)
    return library / name
