"""What a study needs from elsewhere: the commands `simedit-eval assets` and `simedit-eval checkpoints`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from simedit.errors import SimeditError


def assets(
    action: Annotated[Literal["fetch", "check"], tyro.conf.Positional],
    asset_root: Path | None = None,
    url: str | None = None,
    commit: str | None = None,
) -> None:
    """Fetch SIMPLER's asset files with git, or check those that are there.

    Args:
        action: fetch clones them at a pinned commit; check names what is missing.
        asset_root: Where they are or shall be. Default: $SIMEDIT_ASSETS, or a folder in the user's cache.
        url: Fetch from this repository in place of the public one.
        commit: Fetch this commit in place of the pinned one.
    """
    from simedit.envs import downloads

    if action == "fetch":
        print(downloads.fetch(asset_root, url=url, commit=commit))
    else:
        print("\n".join(downloads.check(asset_root)))


def checkpoints(
    action: Annotated[Literal["list", "fetch", "embed"], tyro.conf.Positional],
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = "",
    out: Path | None = None,
    url: str | None = None,
    encoder: Path = Path("checkpoints/sentence_encoder"),
) -> None:
    """Fetch the public RT-1 checkpoints and their sentence encoder over HTTPS.

    Args:
        action: fetch downloads one, or goes on where a download stopped; list shows names and what is there;
            embed writes the embeddings of the six instructions, in place of the encoder.
        name: What to fetch: a name that list shows, or all.
        out: The folder of all checkpoints (default: checkpoints); for embed, the table to write (default:
            checkpoints/embeddings.json).
        url: Fetch from this server in place of the public one; for the sentence encoder, from this address.
        encoder: embed's sentence encoder.
    """
    from simedit.envs.downloads import instructions
    from simedit.policies.checkpoints import CHECKPOINTS, fetch
    from simedit.policies.rt1 import write_embeddings

    folder = out or Path("checkpoints")
    if action == "list":
        for checkpoint in CHECKPOINTS:
            path = folder / checkpoint.folder
            state = "here" if path.exists() else "absent"
            print(f"{checkpoint.name:18}{checkpoint.published:28}{state:8}{path}")
        return
    if action == "embed":
        table = out or folder / "embeddings.json"
        write_embeddings(encoder, table, instructions())
        return print(table)
    if name == "all" and url:
        raise SimeditError("--url goes with one name, not with all")
    names = [checkpoint.name for checkpoint in CHECKPOINTS] if name == "all" else [name]
    for each in names:
        print(fetch(each, folder, url=url))
