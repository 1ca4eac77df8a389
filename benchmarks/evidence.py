"""Do edits predict real rates better than the photographs behind them, and are they worth their diffusion?

    python benchmarks/evidence.py play --dry-run          # how many trials of each part are played
    python benchmarks/evidence.py play --num-envs 2       # what is missing, into benchmarks/lab/evidence
    python benchmarks/evidence.py table                   # tables, test and picture from the trials there
    python benchmarks/evidence.py play runs/mine          # the whole of it again, from nothing
    python benchmarks/evidence.py table runs/mine

docs/evidence.md says what is tested, and was written before any trial was played. Each part is a run folder,
of which results.sqlite alone is kept. `play` may be stopped at any moment, by Ctrl-C, `kill` or a power cut,
and goes on when it is given again; if weights, settings or real rates are others by then, it refuses at once.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from simedit.config import load_config
from simedit.errors import SimeditError, run_cli
from simedit.eval.arms import Arm, read_arms
from simedit.eval.checks import find_problems
from simedit.eval.cli import main as simedit_eval
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.evidence import claim, evidence
from simedit.eval.evidence_picture import save_evidence
from simedit.eval.fingerprints import current_meaning
from simedit.eval.published import load_real
from simedit.eval.run_folder import kept
from simedit.eval.store import Store
from simedit.eval.study import remaining
from simedit.eval.terminal import print_evidence, print_table
from simedit.eval.trials import Result, Trial, trials
from simedit.files import whole
from simedit.packaged import config_file

ROOT = Path(__file__).resolve().parents[1]
TRIALS = ROOT / "benchmarks" / "lab" / "evidence"
CONFIG = config_file("eval", "evidence")
PARTS = {
    "main": (),
    "lit": ("domains=[edited]", "seeds=[10]", "editor.kind=photograph"),
    "raw": ("domains=[raw,edited]", "seeds=[10]", "styles=[wood]", "editor.over=raw"),
    "flat": (
        "domains=[edited]",
        "seeds=[10]",
        "styles=[wood]",
        "editor.kind=photograph",
        "editor.light=false",
    ),
}
"""Run folders and what differs in them from CONFIG."""
ROUNDS = (
    ("main", ("seeds=[10]",)),
    ("main", ("seeds=[10,11]",)),
    ("main", ()),
    ("lit", ()),
    ("raw", ()),
    ("flat", ()),
)
"""What is played one after another: the main comparison first, whole with one seed before the next."""
ARMS = {
    "photographs": "main:vismatch",
    "edited": "main:edited",
    "lit": "lit:edited",
    "flat": "flat:edited",
    "raw": "raw:raw",
    "edited_raw": "raw:edited",
}
CONTRASTS = (
    ("edited", "photographs"),  # the test; all others are beside it
    ("edited", "lit"),
    ("edited", "flat"),
    ("lit", "photographs"),
    ("edited_raw", "raw"),
    ("photographs", "raw"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    playing = commands.add_parser("play", help="play the trials that are missing")
    playing.add_argument(
        "folder", type=Path, nargs="?", default=TRIALS, help="where the parts go, by default %(default)s"
    )
    playing.add_argument("--num-envs", default="1", help="environments at once; on a CPU as many as cores")
    playing.add_argument(
        "--dry-run",
        action="store_true",
        help="only say how many trials are played, and what speaks against more",
    )
    tables = commands.add_parser("table", help="print what the trials that are there show")
    tables.add_argument(
        "folder", type=Path, nargs="?", default=TRIALS, help="where the parts are, by default %(default)s"
    )
    tables.add_argument("--out", type=Path, default=Path(), help="where evidence.json and evidence.png go")
    args = parser.parse_args()
    if args.command == "play":
        # Ctrl-C, which a shell's background ignores, and what `timeout 3h` sends: the store ends as one file.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        play(args.folder, args.num_envs, dry_run=args.dry_run)
    else:
        table(args.folder, args.out)


def study(part: str, *settings: str) -> StudyConfig:
    """A part's study, with more settings."""
    return resolved(load_config(StudyConfig, CONFIG, (*PARTS[part], *settings)))


def play(folder: Path, num_envs: str, *, dry_run: bool = False) -> None:
    """Play what is missing of every part, once nothing speaks against any.

    Raises:
        SimeditError: something does, in one line.
    """
    results = {part: stored(folder / part) for part in PARTS}
    rows = []
    for part in PARTS:
        wanted = list(trials(study(part)))
        missing = len(remaining(wanted, results[part]))
        rows.append((part, len(wanted), len(wanted) - missing, missing))
    sums = [sum(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    print_table(["part", "trials", "played", "missing"], [*rows, ("all", *sums)])
    for part in PARTS:
        check(folder / part, study(part), results[part])
    if dry_run:
        return
    last = {part: at for at, (part, _) in enumerate(ROUNDS)}
    for at, (part, settings) in enumerate(ROUNDS):
        todo = remaining(list(trials(study(part, *settings))), stored(folder / part))
        if at != last[part]:  # what ended in an error comes again once, at the part's end
            todo = [trial for trial in todo if trial not in results[part]]
        if not todo:
            continue
        print(f"part {part}: {len(todo)} trials", flush=True)
        given = ["run", "--config", str(CONFIG), "--out", str(folder / part), "--num-envs", num_envs]
        if changed := (*PARTS[part], *settings):
            given += ["--set", *changed]
        if code := simedit_eval(given):
            raise SystemExit(code)


def stored(folder: Path) -> Mapping[Trial, Result]:
    """What a part's folder holds, {} where it is not begun."""
    if not (folder / "results.sqlite").exists():
        return {}
    with Store(folder, write=False) as store:
        return store.results()


def check(folder: Path, config: StudyConfig, results: Mapping[Trial, Result]) -> None:
    """Refuse to go on with a part that was begun with another study, other files or other real rates.

    Raises:
        SimeditError: names what differs, or what is absent.
    """
    problems, _ = find_problems(config, folder)
    if problems:
        raise SimeditError(f"cannot play {folder}: {'; '.join(problems)}")
    if not results:
        return
    if strange := set(results) - set(trials(config)):
        raise SimeditError(
            f"{folder} holds {len(strange)} trials that {CONFIG.name} does not ask for, such as "
            f"{min(map(str, strange))}: give `play` another folder"
        )
    with tempfile.TemporaryDirectory() as scratch, Store(folder, write=False) as store:
        specialists = (
            config.editor.folders(config.styles, Path(scratch)) if "edited" in config.domains else {}
        )
        store.check(current_meaning(config, specialists))
        before = kept(store)[1].policies
    now = load_real(config.real, config.suite, list(config.policies), config.tasks).policies
    if other := [policy for policy in config.policies if before.get(policy) != now[policy]]:
        raise SimeditError(
            f"{folder} was begun with other real rates of {', '.join(other)}: give `play` another folder, or "
            "measure those rates no more"
        )


def table(folder: Path, out: Path) -> None:
    """Print the tables of what is stored in the parts of a folder, and write them and the picture.

    Of each arm those seeds count of which every trial was played.

    Raises:
        SimeditError: there is no such arm, or they cannot be compared.
    """
    there = [part for part in PARTS if stored(folder / part)]
    found = {
        name: complete(arm, study(place.split(":")[0]))
        for name, place in ARMS.items()
        if place.split(":")[0] in there
        for arm in read_arms([f"{name}={folder / place}"])
    }
    arms = {name: arm for name, arm in found.items() if arm.seeds}
    if absent := [name for name in ARMS if name not in arms]:
        print(f"  ! not played, or not with any seed to its end: {', '.join(absent)}")
    if not arms:
        raise SimeditError(
            f"{folder} has no arm of the study yet: `python benchmarks/evidence.py play {folder}` plays them"
        )
    shown = evidence(list(arms.values()), [pair for pair in CONTRASTS if set(pair) <= set(arms)])
    print_evidence(shown)
    for contrast in shown["contrasts"]:
        if (contrast["arm"], contrast["against"]) == CONTRASTS[0]:
            unfinished = [name for name in CONTRASTS[0] if len(arms[name].outcomes) < arms[name].wanted]
            not_due = f"not due, for these arms are not played to their end: {', '.join(unfinished)}."
            print(f"The test: {not_due if unfinished else claim(contrast)}")
    save_evidence(out / "evidence.png", shown)
    with whole(out / "evidence.json") as draft:
        draft.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out / 'evidence.json'} and {out / 'evidence.png'}")


def complete(arm: Arm, config: StudyConfig) -> Arm:
    """The arm with those seeds alone of which every trial was played."""
    edited = bool(arm.styles)
    wanted = Counter(trial.seed for trial in trials(config) if bool(trial.style) == edited)
    played = Counter(trial.seed for trial in arm.outcomes)
    seeds = [seed for seed, count in wanted.items() if played[seed] == count]
    return replace(arm.only(seeds=seeds), wanted=sum(wanted.values()))


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
