"""The strips and videos that a page holds: what fits into it, and why the others are not shown."""

from __future__ import annotations

import base64
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from simedit.eval.recording import chosen_trials, recorded, strip_path, video_path
from simedit.eval.trials import Trial

LIMIT = 20_000_000
"""Bytes of a page with all that it holds: what mail and reviewers' systems still take."""
_ROOM = 2000
"""Bytes that a picture's caption and tags take at most, beside its name's."""


@dataclass(frozen=True)
class Picture:
    """A recorded trial: the strip (PNG) or the video (MP4) at `path`.

    Attributes:
        run: which run it is of, where a page shows several.
        data: base64 of the file; "" where it is not shown.
        why: it is not shown; "" where it is.
    """

    path: Path
    trial: Trial
    run: str = ""
    data: str = ""
    why: str = ""


def pictures(
    folder: Path,
    wanted: Sequence[Trial],
    *,
    stored: Container[Trial],
    strips: int,
    videos: int,
    run: str = "",
) -> list[Picture]:
    """The pictures in a run folder of stored trials, those first that its study chooses to show.

    Args:
        wanted: the study's trials that can be played, in its order.
        strips, videos: how many of each the study chooses.
    """
    if not (folder / "media").is_dir():
        return []
    chosen = [
        (path, trial)
        for path, count in ((strip_path, strips), (video_path, videos))
        for trial in chosen_trials(wanted, count)
    ]
    others = [(path, trial) for trial in wanted for path in (strip_path, video_path)]
    found = [
        (recorded(path(folder, trial), trial), trial)
        for path, trial in dict.fromkeys(chosen + others)
        if trial in stored
    ]
    return [Picture(path, trial, run) for path, trial in found if path.is_symlink() or path.exists()]


def embedded(found: Iterable[Picture], room: int) -> list[Picture]:
    """Each picture with its data, as long as there is room for it, or with why it has none.

    Args:
        room: bytes of HTML.
    """
    result = []
    for picture in found:
        picture = _read(picture, room)
        room -= len(picture.data) + (_ROOM + 12 * len(str(picture.trial)) if picture.data else 0)
        result.append(picture)
    return result


def _read(picture: Picture, room: int) -> Picture:
    path = picture.path
    try:
        # A run folder from elsewhere must not carry this machine's files into a page that is passed on.
        if not path.resolve().is_relative_to(path.parent.parent.resolve()):
            return replace(picture, why="a link that leaves the run folder")
        if not path.is_file():
            return replace(picture, why="no file")
        if path.stat().st_size * 4 / 3 + _ROOM + 12 * len(str(picture.trial)) > room:
            return replace(picture, why=NO_ROOM)
        return replace(picture, data=base64.b64encode(path.read_bytes()).decode())
    except (OSError, RuntimeError) as error:  # before Python 3.13 links in a circle are a RuntimeError
        return replace(picture, why=str(getattr(error, "strerror", None) or error))


NO_ROOM = "no room in a page of 20 MB"


def figure(group: Sequence[Picture], row: int | None, outcome: str) -> str:
    """What was recorded of one trial, as HTML; its edits stand to the right of or beneath the raw frames.

    Args:
        row: of the trial in the page's list; None where that lacks it.
    """
    trial = group[0].trial
    name = f"{trial}: {outcome}" + (f" ({group[0].run})" if group[0].run else "")
    parts = []
    for picture in sorted(group, key=lambda one: one.path.suffix):  # the video first
        video = picture.path.suffix == ".mp4"
        if picture.why:
            told = f"{'video' if video else 'strip'} not shown: {picture.why} (media/{picture.path.name})"
            parts.append(f'<p class="note">{escape(told)}</p>')
        elif video:
            sides = '<p class="sides"><span>raw</span><span>edited</span></p>' if trial.style else ""
            parts.append(
                f'{sides}<video controls muted loop playsinline preload="metadata" '
                f'aria-label="{escape(name)}" src="data:video/mp4;base64,{picture.data}"></video>'
            )
        else:
            alt = f"frames from first to last{', raw above, edited below' if trial.style else ''}: {name}"
            parts.append(f'<img alt="{escape(alt)}" src="data:image/png;base64,{picture.data}">')
    where = "" if row is None else f' data-row="{row}"'
    kind = "episode left" if all(picture.why == NO_ROOM for picture in group) else "episode"
    return f'<figure class="{kind}"{where}>{"".join(parts)}<figcaption>{escape(name)}</figcaption></figure>'


def left_out(found: Sequence[Picture]) -> str:
    """One line of HTML on the pictures that the page has no room for; "" if it has all."""
    lost = [picture for picture in found if picture.why == NO_ROOM]
    if not lost:
        return ""
    return (
        f'<p class="note">{len(lost)} of {len(found)} recordings are left out, for this page stays under '
        "20 MB. They lie in the run folder's media; how many a run records is report.videos and "
        "report.strips in its config.</p>"
    )
