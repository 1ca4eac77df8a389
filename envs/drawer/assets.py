"""Where SIMPLER's asset files lie: find them, check them, fetch them.

The files (URDFs, meshes, photographs) are those of the public project
https://github.com/simpler-env/ManiSkill2_real2sim (Apache-2.0), in that project's own layout, so any
checkout of it is an asset root. None of them is part of this package.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path

from simedit.envs.drawer.poses import POSES
from simedit.errors import SimeditError

DEFAULT_URL = "https://github.com/simpler-env/ManiSkill2_real2sim"
DEFAULT_COMMIT = "ef7a4d4fdf4b69f2c2154db5b15b9ac8dfe10682"
"""The commit that SimplerEnv itself pins as its submodule."""

ROBOT_VARIANTS = (
    None,
    "recolor_cabinet_visual_matching_1",
    "recolor_tabletop_visual_matching_1",
    "recolor_tabletop_visual_matching_2",
)
"""The robot textures that Visual Matching averages over; None is the plain one."""

CABINETS = ("mk_station_recolor", "mk_station", "mk_station2", "mk_station3")
"""Visual Matching's cabinet, then those of Variant Aggregation."""

ROOMS = ("frl_apartment_stage_simple", "modern_bedroom_no_roof", "modern_office_no_roof")
"""The rooms of Variant Aggregation, its base first."""

_ROBOT_FOLDER = "mani_skill2_real2sim/assets/descriptions/googlerobot_description"
# The part of the repository that is fetched, as git's sparse patterns.
_SPARSE = f"""/LICENSE
/data/custom/mk_station*.urdf
/data/custom/models/stone_tabletop.glb
/data/real_inpainting/open_drawer_*.png
/data/hab2_bench_assets/stages/frl_apartment_stage_simple.glb
/data/hab2_bench_assets/stages/modern_*_no_roof.glb
/{_ROBOT_FOLDER}/
"""
_HINT = (
    "run `simedit-eval assets fetch`, or name a checkout of simpler-env/ManiSkill2_real2sim in "
    "SIMEDIT_ASSETS, --asset-root, or a study's suite.asset_root"
)


def robot_urdf(variant: str | None = None) -> str:
    """The robot's URDF, relative to the asset root; `variant` is one of ROBOT_VARIANTS."""
    suffix = f"_{variant}" if variant else ""
    return f"{_ROBOT_FOLDER}/google_robot_meta_sim_fix_wheel_fix_fingertip{suffix}.urdf"


def cabinet_urdf(name: str = CABINETS[0]) -> str:
    """A cabinet's URDF, relative to the asset root; `name` is one of CABINETS."""
    return f"data/custom/{name}.urdf"


def room_mesh(name: str) -> str:
    """A room's mesh, relative to the asset root; `name` is one of ROOMS."""
    return f"data/hab2_bench_assets/stages/{name}.glb"


def photograph(pose: str) -> str:
    """The photograph laid over the frames of a pose ("a0" to "c2"), relative to the asset root."""
    return f"data/real_inpainting/open_drawer_{pose}.png"


def default_root() -> Path:
    """Where `fetch` is told to put the files by default: `simedit/simpler` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "simedit" / "simpler"


def resolve_asset_root(asset_root: str | Path | None = None) -> Path:
    """The asset root: the argument, else $SIMEDIT_ASSETS, else `default_root()` if fetched.

    Only that the folder exists is checked here; see `require`.

    Raises:
        SimeditError: none of them is given, or the one given is no folder.
    """
    given = asset_root or os.environ.get("SIMEDIT_ASSETS")
    root = Path(os.path.expanduser(given)) if given else default_root()
    if root.is_dir():
        return root.resolve()
    if given:
        raise SimeditError(f"asset root {root} is not a folder: {_HINT}")
    raise SimeditError(f"SIMPLER's assets are needed and no asset root is known: {_HINT}")


def require(root: str | Path, relative_paths: Iterable[str]) -> list[str]:
    """Check files of an asset root and, in turn, every mesh, material and texture they refer to.

    Empty files, files cut short, Git LFS pointers and what lies outside of the root count as missing.

    Returns:
        every path checked, relative to `root`, sorted.

    Raises:
        SimeditError: files are missing; names the first five and counts the rest.
    """
    checked, problems = _check(root, relative_paths)
    if problems:
        named = ", ".join(f"{name} ({problems[name]})" for name in sorted(problems)[:5])
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise SimeditError(f"asset root {root} lacks {named}{more}: {_HINT}")
    return checked


def missing(root: str | Path, relative_paths: Iterable[str]) -> dict[str, str]:
    """The files that `require` would refuse, relative to `root`, and what is wrong with each."""
    return _check(root, relative_paths)[1]


def verify(root: str | Path) -> list[str]:
    """Check all that the drawer twin cannot do without: robots, cabinets, photographs. As `require`.

    A room may be missing: each serves some variants of one domain; see `missing`.
    """
    robots = [robot_urdf(variant) for variant in ROBOT_VARIANTS]
    cabinets = [cabinet_urdf(name) for name in CABINETS]
    return require(root, robots + cabinets + [photograph(pose) for pose in POSES])


def _check(root: str | Path, relative_paths: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Every path checked, and what is wrong with those that are missing."""
    problems: dict[str, str] = {}
    todo, seen = list(relative_paths), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            if posixpath.isabs(name) or name.partition("/")[0] == "..":
                raise ValueError("outside the asset root")
            file = Path(root) / name
            if file.exists() and not file.is_file():
                raise ValueError("no plain file")
            references = _references(file.suffix.lower(), file.read_bytes())
        except OSError as error:
            problems[name] = "missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
        except ValueError as error:
            problems[name] = str(error)
        else:
            todo += [posixpath.normpath(posixpath.join(posixpath.dirname(name), r)) for r in references]
    return sorted(seen), problems


def fetch(dest: str | Path, *, url: str = DEFAULT_URL, commit: str = DEFAULT_COMMIT) -> Path:
    """Clone the needed files at `commit` into `dest` with the git command, and verify them.

    Works in a temporary folder beside `dest` and renames it at the end: a fetch that fails or is
    interrupted by Ctrl-C leaves nothing. If `dest` already holds a good checkout of `commit`, says so on
    stderr and does nothing. The rooms aside, about 6 MB to download and 30 MB on disk, where the server can
    leave files out, as GitHub can; else it sends all files of that commit, above 90 MB.

    Args:
        dest: a folder that does not exist yet, is empty, or is an earlier fetch.
        url: anything git can fetch from.
        commit: the full 40-digit id.

    Returns:
        `dest`, absolute.

    Raises:
        SimeditError: `dest` is something else, no git, no network, no such commit, or missing files.
    """
    dest = Path(os.path.expanduser(dest)).resolve()
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise SimeditError(f"{commit!r} is not a full commit id (40 hexadecimal digits)")
    try:
        if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
            _verify_checkout(dest, commit)
            rooms = ", ".join(missing(dest, map(room_mesh, ROOMS)))
            without = f", without {rooms}: delete it to fetch anew" if rooms else ""
            print(f"{dest} already holds SIMPLER's assets at {commit[:12]}{without}", file=sys.stderr)
            return dest
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f".{dest.name}-") as folder:
            checkout = Path(folder) / "checkout"
            checkout.mkdir()
            _clone(checkout, url, commit)
            _verify_checkout(checkout, commit)
            checkout.rename(dest)
    except OSError as error:
        raise SimeditError(f"cannot fetch assets into {dest}: {error.strerror or error}") from error
    return dest


def _clone(folder: Path, url: str, commit: str) -> None:
    _git(folder, ["init", "--quiet"])
    _git(folder, ["remote", "add", "origin", url])
    _git(folder, ["config", "core.sparseCheckout", "true"])
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "sparse-checkout").write_text(_SPARSE, encoding="utf-8")
    _git(folder, ["fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", commit])
    _git(folder, ["checkout", "--quiet", "--detach", commit])


def _verify_checkout(folder: Path, commit: str) -> None:
    # Without its own .git, git would answer for a repository that lies around the folder.
    head = _git(folder, ["rev-parse", "HEAD"]) if (folder / ".git").exists() else "no git checkout"
    if head != commit:
        raise SimeditError(f"{folder} is in the way: it is {head}, not {commit}; delete it or name another")
    verify(folder)


def _git(folder: Path, arguments: Sequence[str]) -> str:
    # A git hook's own variables would send these commands to another repository.
    hooks = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {key: value for key, value in os.environ.items() if key not in hooks}
    patience = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *patience, *arguments],
            env={**environment, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise SimeditError("fetching assets needs the `git` command: install git") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("fatal:", "error:"))]
        reason = "; ".join(lines) or done.stderr.strip()
        raise SimeditError(f"git {' '.join(arguments)} failed: {reason} (is the network up?)")
    return done.stdout.strip()


def _references(suffix: str, data: bytes) -> list[str]:
    """The files a file refers to, relative to it; ValueError says what is wrong with the file itself."""
    if not data:
        raise ValueError("empty")
    if data.startswith(b"version https://git-lfs"):
        raise ValueError("a Git LFS pointer, not the file")
    whole, references = True, []
    if suffix == ".urdf":
        try:
            meshes = [mesh.get("filename") for mesh in ElementTree.fromstring(data).iter("mesh")]
        except (ElementTree.ParseError, LookupError, RecursionError) as error:
            raise ValueError("cut short or not XML") from error
        references = [mesh for mesh in meshes if mesh]
        if len(references) < len(meshes):
            raise ValueError("a mesh without a filename")
    elif suffix == ".obj":
        whole = data.endswith(b"\n") and re.search(rb"^f ", data, re.M) is not None
        references = re.findall(rb"^mtllib\s+(.+?)\s*$", data, re.M)
    elif suffix == ".mtl":
        whole = data.endswith(b"\n")
        references = re.findall(rb"^\s*map_\w+\s+(.+?)\s*$", data, re.M)
    elif suffix == ".png":
        whole = data.endswith(b"IEND\xaeB`\x82")
    elif suffix == ".glb":
        whole = data.startswith(b"glTF") and int.from_bytes(data[8:12], "little") == len(data)
    if not whole:
        raise ValueError("cut short")
    return [os.fsdecode(reference) for reference in references]
