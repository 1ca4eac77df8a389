"""What the suite that is meant where a study names none needs from elsewhere."""

from __future__ import annotations

from pathlib import Path

from simedit.envs.drawer import assets
from simedit.envs.drawer.poses import DRAWERS, TASKS, instruction


def fetch(asset_root: Path | None, *, url: str | None, commit: str | None) -> Path:
    """Fetch its asset files, by default to where they are looked for; `simedit.envs.drawer.assets.fetch`.

    Raises:
        SimeditError: they cannot be had.
    """
    return assets.fetch(
        asset_root or assets.default_root(),
        url=url or assets.DEFAULT_URL,
        commit=commit or assets.DEFAULT_COMMIT,
    )


def check(asset_root: Path | None) -> list[str]:
    """What is there of its asset files, in a sentence each.

    Raises:
        SimeditError: files are missing without which nothing can be played.
    """
    root = assets.resolve_asset_root(asset_root)
    found = [f"{root}: {len(assets.verify(root))} files, complete"]
    if rooms := assets.missing(root, map(assets.room_mesh, assets.ROOMS)):
        named = ", ".join(f"{room} ({reason})" for room, reason in sorted(rooms.items()))
        found.append(f"without rooms of Variant Aggregation: {named}")
    return found


def instructions() -> list[str]:
    """All that its policies can be told."""
    return [instruction(task, drawer) for task in TASKS for drawer in DRAWERS]
