"""Do edits predict real rates better than the photographs behind them, and are they worth their diffusion?

    python benchmarks/evidence.py play --num-envs 2    # what is missing of every arm, into runs/evidence
    python benchmarks/evidence.py table                # from the trials in benchmarks/lab/evidence
    python benchmarks/evidence.py table runs/evidence  # from your own
    python benchmarks/evidence.py power                # simulated: what a study of that size can show

docs/evidence.md says what is tested, and was written before any trial was played. Each part is a run folder;
`play` may be stopped and given again at any time.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simedit.config import load_config
from simedit.errors import SimeditError, run_cli
from simedit.eval.arms import read_arms
from simedit.eval.cli import main as simedit_eval
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.evidence import LEVEL, TESTED, Draws, advantages, claim, evidence
from simedit.eval.evidence_picture import save_evidence
from simedit.eval.metrics import mmrv, pearson_r
from simedit.eval.published import Rates, TaskRates
from simedit.eval.rates_file import Counts
from simedit.eval.terminal import print_evidence, print_table
from simedit.eval.trials import trials
from simedit.files import whole
from simedit.packaged import config_file

ROOT = Path(__file__).resolve().parents[1]
TRIALS = ROOT / "benchmarks" / "lab" / "evidence"
CONFIG = config_file("eval", "evidence")
PARTS = {
    "main": (),
    "lit": ("domains=[edited]", "seeds=[0]", "editor.kind=photograph"),
    "raw": ("domains=[raw,edited]", "seeds=[0]", "editor.over=raw", "styles=[wood,black_marble]"),
    "flat": ("domains=[edited]", "seeds=[0]", "editor.kind=photograph", "editor.light=false"),
}
"""Run folders and their settings, in the order in which they are played. Raw scenes have one seed, for
another changes nothing in them."""
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
    playing = commands.add_parser("play")
    playing.add_argument("out", type=Path, nargs="?", default=Path("runs/evidence"))
    playing.add_argument("--num-envs", default="1")
    playing.add_argument("--dry-run", action="store_true", help="only say how many trials are missing")
    playing.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="overrides")
    tables = commands.add_parser("table")
    tables.add_argument("folder", type=Path, nargs="?", default=TRIALS)
    tables.add_argument("--out", type=Path, default=Path(), help="where evidence.json and .png go")
    powers = commands.add_parser("power")
    powers.add_argument("--policies", type=int, nargs="*", default=[8, 12])
    powers.add_argument("--real", type=int, nargs="*", default=[54, 216], help="trials a policy and task")
    powers.add_argument("--studies", type=int, default=300)
    args = parser.parse_args()
    if args.command == "play":
        play(args.out, args.num_envs, args.dry_run, args.overrides)
    elif args.command == "table":
        table(args.folder, args.out)
    else:
        power(args.policies, args.real, args.studies)


def play(out: Path, num_envs: str, dry_run: bool, overrides: Sequence[str]) -> None:
    """Play what is missing of every part."""
    if dry_run:
        wanted = {}
        for part, settings in PARTS.items():
            study = resolved(load_config(StudyConfig, CONFIG, (*settings, *overrides)))
            wanted[part] = len(list(trials(study)))
        print_table(["part", "trials"], [*wanted.items(), ("all", sum(wanted.values()))])
        return
    for part, settings in PARTS.items():
        print(f"part {part}:", flush=True)
        given = ["--set", *settings, *overrides] if settings or overrides else []
        code = simedit_eval(
            ["run", "--config", str(CONFIG), "--out", str(out / part), "--num-envs", num_envs, *given]
        )
        if code:
            raise SystemExit(code)


def table(folder: Path, out: Path) -> None:
    """Print the tables of what is stored in the parts of a folder, and write them and the picture."""
    there = {name: place for name, place in ARMS.items() if (folder / place.split(":")[0]).is_dir()}
    if not there:
        raise SimeditError(
            f"{folder} holds no part of the study: `benchmarks/evidence.py play {folder}` plays them"
        )
    if absent := sorted(set(ARMS) - set(there)):
        print(f"  ! not played: {', '.join(absent)}")
    arms = read_arms([f"{name}={folder / place}" for name, place in there.items()])
    found = evidence(arms, [pair for pair in CONTRASTS if set(pair) <= set(there)])
    print_evidence(found)
    for contrast in found["contrasts"]:
        if (contrast["arm"], contrast["against"]) == CONTRASTS[0]:
            print(f"The test: {claim(contrast)}")
    save_evidence(out / "evidence.png", found)
    with whole(out / "evidence.json") as draft:
        draft.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out / 'evidence.json'} and {out / 'evidence.png'}")


# A simulated study: a policy succeeds in a situation with a chance whose log-odds are its skill, the
# situation's ease and how the two go together, shared by reality and simulations; a simulation adds errors of
# its own, for each policy and task and for each situation of these.
SITUATIONS, SEEDS, TASKS = 27, (9, 3), ("open", "close")
"""Of a task; trials of the two arms in each, edited and photographs."""


def chances(
    random: np.random.Generator, policies: int, errors: Sequence[float], situations: int = SITUATIONS
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Chances of success, float [P, task, situation], in reality and in simulations with such errors."""

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape)

    skill = np.linspace(-3, 3, policies)[:, None, None] + 0.8 * normal(policies, 2, 1)
    odds = skill + normal(1, 2, situations) + normal(policies, 2, situations)
    sims = [odds + e * normal(policies, 2, 1) + 0.7 * normal(policies, 2, situations) for e in errors]
    return _share(odds), [_share(each) for each in sims]


def truth(random: np.random.Generator, policies: int, errors: Sequence[float]) -> dict[str, float]:
    """The mean advantage of the first simulation over the second, without sampling."""
    found = []
    for _ in range(400):
        real, sims = chances(random, policies, errors, 400)
        one, two, rates = (each.mean((1, 2)) for each in (*sims, real))
        found.append([mmrv(two, rates) - mmrv(one, rates), pearson_r(one, rates) - pearson_r(two, rates)])
    return dict(zip(TESTED, map(float, np.mean(found, 0)), strict=True))


def drawn(
    random: np.random.Generator, policies: int, real_trials: int, errors: Sequence[float], draws: int
) -> Draws:
    """A study of those chances: two arms, and so many real trials for each policy and task."""
    real, sims = chances(random, policies, errors)
    names = [str(p) for p in range(policies)]
    won = random.binomial(real_trials, real.mean(-1))
    rates = {
        name: TaskRates(
            {task: Counts(successes=int(won[p, t]), n=real_trials) for t, task in enumerate(TASKS)}
        )
        for p, name in enumerate(names)
    }
    played = {}
    for t, task in enumerate(TASKS):
        held = np.stack([np.full((policies, SITUATIONS), seeds) for seeds in SEEDS])
        played[task] = random.binomial(held, np.stack([sim[:, t] for sim in sims])), held
    return Draws(played, Rates(source="simulated", policies=rates), names, draws)


def rates_of_claims(
    policies: int,
    real_trials: int,
    errors: Sequence[float],
    studies: int,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Over simulated studies, for MMRV and r: the true advantage, how often an interval holds it, and how
    often it is claimed, the corrected p being below 0.05."""
    random = np.random.default_rng(seed)
    true = truth(random, policies, errors)
    blocks = [advantages(drawn(random, policies, real_trials, errors, draws), TASKS) for _ in range(studies)]
    return {
        metric: {
            "true": true[metric],
            "held": float(np.mean([_holds(block[metric]["ci"], true[metric]) for block in blocks])),
            "claimed": float(np.mean([block[metric]["p_holm"] < LEVEL for block in blocks])),
        }
        for metric in TESTED
    }


def _holds(ci: Sequence[float], value: float) -> bool:
    return ci[0] - 0.002 <= value <= ci[1] + 0.002  # the truth has an error of its own


def _share(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


def power(policies: Sequence[int], real_trials: Sequence[int], studies: int) -> None:
    rows = []
    for errors, count, n in itertools.product(((0.7, 0.7), (0.45, 0.9), (0.3, 1.2)), policies, real_trials):
        for metric, found in rates_of_claims(count, n, errors, studies).items():
            study = [" / ".join(map(str, errors)), count, n, {"mmrv": "MMRV", "pearson_r": "r"}[metric]]
            rows.append([*study, f"{found['true']:+.3f}", f"{found['held']:.2f}", f"{found['claimed']:.2f}"])
    print("Errors: of log-odds, of the edited arm / of photographs. Held: by 95 % intervals.")
    print_table(["errors", "policies", "real trials", "in", "advantage", "held", "claimed"], rows)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
