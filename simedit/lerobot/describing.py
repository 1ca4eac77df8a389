"""What an edited dataset says of itself: its statistics made anew, its edits recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simedit.coding import coding_of, kept
from simedit.config import load_json
from simedit.drafts import whole
from simedit.errors import SimeditError, shortened
from simedit.images import say
from simedit.lerobot.reading import EPISODES, INFO, STATS, Dataset, parquets, reading_parquet
from simedit.lerobot.statistics import NAMES, Stats, together
from simedit.lerobot.writing import camera_statistics, write_json, write_table
from simedit.video import probe

RECORD = "meta/simedit.json"
"""Where a dataset's edits are told: a file of its own, for LeRobot warns of keys in info.json that it does
not know."""


def is_described(name: Path, camera: str) -> bool:
    """Whether a file of a dataset is made anew when a camera is edited; others are copied."""
    video = name.suffix == ".mp4" and camera in name.parts
    return video or str(name) in (STATS, INFO, RECORD) or name.is_relative_to(EPISODES)


def check_metadata(dataset: Dataset) -> None:
    """Find before the work what `describe` could not read or write after it, and say what will not stay.

    Raises:
        SimeditError: metadata is broken, or holds statistics that LeRobot 0.4 does not know.
    """
    folder = dataset.folder
    _earlier(folder)
    _json(folder / STATS)
    for path in parquets(folder, EPISODES):
        with reading_parquet(path) as file:
            for name in file.schema_arrow.names:
                if (
                    name.startswith(prefix := f"stats/{dataset.camera}/")
                    and name.removeprefix(prefix) not in NAMES
                ):
                    raise SimeditError(
                        f"{path} holds a statistic that cannot be made anew: {shortened(name)}"
                    )
    for file in dataset.files:
        found = coding_of(file.video.path)
        if (after := kept(found)).codec != found.codec or after.pixels != found.pixels:
            say(f"{file.video.path} is {found.codec}, {found.pixels}: its edit is written as {after.codec}")


def describe(dataset: Dataset, new: Path, edit: Mapping[str, Any]) -> None:
    """Write the metadata of an edited dataset.

    Args:
        new: its folder, where all but that is.
        edit: what was done, plain data.

    Raises:
        SimeditError: it cannot be written.
    """
    folder, camera = dataset.folder, dataset.camera
    stats: dict[int, Stats] = {}
    for file in dataset.files:
        stats |= camera_statistics(probe(new / file.name), file.spans)
    for path in parquets(folder, EPISODES):
        with reading_parquet(path) as file:
            table = _with_statistics(file.read(), camera, stats)
        with whole(new / path.relative_to(folder)) as partial:
            write_table(partial, table)
    if isinstance((told := _json(folder / STATS)).get(camera), dict):
        found = together(list(stats.values()))
        told[camera] = {name: np.asarray(found[name]).tolist() for name in told[camera] if name in found}
    if told:
        with whole(new / STATS) as partial:
            write_json(partial, told)
    with whole(new / RECORD) as partial:
        write_json(partial, {"edits": [*_earlier(folder), edit]})
    with whole(new / INFO) as partial:
        partial.write_bytes((folder / INFO).read_bytes())
        before, after = (coding_of(at / dataset.files[0].name) for at in (folder, new))
        info = _json(folder / INFO)
        video = info["features"][camera].get("info")
        if isinstance(video, dict) and (before.codec, before.pixels) != (after.codec, after.pixels):
            video |= {"video.codec": after.codec, "video.pix_fmt": after.pixels}
            write_json(partial, info)


def _with_statistics(table: Any, camera: str, stats: Mapping[int, Stats]) -> Any:
    import pyarrow as pa

    episodes = table.column("episode_index").to_pylist()
    for name in NAMES:
        if (column := f"stats/{camera}/{name}") not in table.column_names:
            continue
        at = table.column_names.index(column)
        rows = []
        for episode, old in zip(episodes, table.column(column).to_pylist(), strict=True):
            found = stats[episode][name]
            shape = np.shape(old)
            rows.append((found.reshape(shape) if np.prod(shape) == found.size and shape else found).tolist())
        table = table.set_column(at, table.schema.field(at), pa.array(rows, table.schema.field(at).type))
    return table


def _earlier(folder: Path) -> list[Any]:
    """The edits that made this dataset of another."""
    if not (folder / RECORD).exists():
        return []
    edits = load_json(folder / RECORD).get("edits")
    if not isinstance(edits, list):
        raise SimeditError(f"{folder / RECORD} does not list the dataset's edits: remove it")
    return edits


def _json(path: Path) -> dict[str, Any]:
    """A JSON file of LeRobot's, which may hold NaN; {} where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise SimeditError(f"cannot read {path}, download it anew: {shortened(error, 200)}") from error
    if not isinstance(found, dict):
        raise SimeditError(f"{path} must hold a JSON object")
    return found
