"""Which image metric says how well edited scenes predict real rates? In the lab, over arms that were played.

    python benchmarks/which_metric.py runs/which

    mkdir -p runs/earlier && git archive afd6bd0 lab/data | tar -x -C runs/earlier
    python benchmarks/which_metric.py runs/which --earlier runs/earlier/lab/data   # and benchmarks/lab's arms

An arm is an editor (or none), a scene and a style. Of each, the metrics of 18 frames such as it shows to
policies: both tasks at all nine poses, the scripted expert at work at three points of its way, the seeds' own
visits to kitchens, the arm's own editor. And of its trials, over the average of opening and closing: MMRV, r
and the mean absolute error of the policies' rates.

Metrics compare with the frame before the edit (edge_f1, canny, ssim), with the style images (colour, texture,
lite_patches; edited arms alone), or with what proxy-real shows at that moment (real_ssim, real_edge_f1,
real_colour in the mask, real_lite and, in the mask, real_lite_mask: EfficientNet-Lite0's features, place by
place). `handles` is the contrast of dark details (`detail_contrast`). A correlation above 0 says that the
better arm by the metric is the better simulation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from moments import LOWER, METRICS, TRIALS, Measures, moments, painted, parts
from scipy.stats import permutation_test, rankdata
from which_metric_picture import save_picture

from simedit.errors import run_cli
from simedit.eval.arms import Arm, common, counts, read_arms
from simedit.eval.evidence import Draws
from simedit.eval.metrics import interval
from simedit.eval.paired import holm
from simedit.eval.run_folder import kept
from simedit.eval.store import Store
from simedit.eval.terminal import print_table
from simedit.eval.worth import losses
from simedit.files import whole
from simedit.pipeline import silence_loading

ELEVEN = {
    "photographs": "evidence/main:vismatch",
    "edited, wood": "evidence/main:edited/wood",
    "edited, black marble": "evidence/main:edited/black_marble",
    "lit, wood": "evidence/lit:edited/wood",
    "lit, black marble": "evidence/lit:edited/black_marble",
    "flat, wood": "evidence/flat:edited/wood",
    "histogram, wood": "colours:edited/wood",
    "histogram, black marble": "colours:edited/black_marble",
    "raw": "evidence/raw:raw",
    "edited raw, wood": "evidence/raw:edited/wood",
}
"""Eleven policies, the weights that ship; seed 10, which all arms have."""
STYLES = ("gold", "leather", "white_marble", "black_marble", "steel", "stone", "wood")
FOUR = (
    {"photographs": ".:vismatch"} | {s.replace("_", " "): f".:edited/{s}" for s in STYLES} | {"raw": ".:raw"}
)
"""Four policies, the weights of commit afd6bd0; seed 0."""
FIDELITY, SIGNS = ("mmrv", "pearson_r", "mae"), (-1, 1, -1)
DRAWS, PERMUTATIONS, FEWEST = 4000, 49_999, 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="which.json and which-metric.png go there")
    parser.add_argument(
        "--earlier", type=Path, help="lab/data of commit afd6bd0, for the earlier study's arms"
    )
    args = parser.parse_args()
    silence_loading()
    sets = {"eleven policies": predicted(ELEVEN, 10)}
    if args.earlier:
        sets["four policies"] = predicted(FOUR, 0, args.earlier)
    for name, found in sets.items():
        show(name, found)
    with whole(args.folder / "which.json") as draft:
        draft.write_text(json.dumps(sets, indent=1) + "\n", encoding="utf-8")
    save_picture(args.folder / "which-metric.png", sets, METRICS)


def predicted(places: Mapping[str, str], seed: int, earlier: Path | None = None) -> dict[str, Any]:
    """Arms with their metrics and fidelity, and the correlations over all arms and those over photographs."""
    arms = [arm.only(seeds=[seed]) for arm in read_arms([f"{n}={TRIALS / p}" for n, p in places.items()])]
    with Store(parts(next(iter(places.values())))[0], write=False) as store:
        at = moments(kept(store)[0], seed)
    measure, frames, unders = Measures(at), [], []
    for place in places.values():
        pictures, under, styles = painted(place, at, earlier)
        frames.append(measure(pictures, at.frames[under], styles))
        unders.append(under)
    values = {name: np.stack([one[name] for one in frames]) for name in METRICS}  # [arms, moments]
    fidelity, drawn = fidelities(arms)
    told = [
        {"name": name, "under": under, "frames": len(at.tasks)}
        | {metric: _mean(values[metric][a]) for metric in METRICS}
        | dict(zip(FIDELITY, (fidelity[a] * SIGNS).tolist(), strict=True))
        for a, (name, under) in enumerate(zip(places, unders, strict=True))
    ]
    over = np.array([under == "vismatch" for under in unders])
    groups = {"all": np.ones_like(over), "photographs": over}
    return {
        "arms": told,
        "groups": {name: correlations(values, fidelity, drawn, which) for name, which in groups.items()},
    }


def _mean(values: np.ndarray) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def fidelities(arms: Sequence[Arm]) -> tuple[np.ndarray, np.ndarray]:
    """How well each arm predicts, higher is better, [A, 3] in the order of FIDELITY, and draws [D, A, 3] of
    what may as well have been: other policies, situations and real counts (`simedit.eval.evidence.Draws`)."""
    policies, tasks = common(arms)
    drawn = Draws({t: counts(arms, policies, t) for t in tasks}, arms[0].real, policies, DRAWS)
    (sims, some), (real, reals) = drawn.sims(tasks), drawn.reals(tasks)
    return -losses(sims, real, drawn.alike), -losses(some, reals[:, None], drawn.weights[:, None])


def correlations(
    values: Mapping[str, np.ndarray], fidelity: np.ndarray, drawn: np.ndarray, which: np.ndarray
) -> dict[str, dict[str, Any]]:
    """By metric and fidelity: "spearman" and "pearson" over the arms, each with a 95 % interval "..._ci" (the
    frames by the Bayesian bootstrap, and `drawn`), `n` arms, and of Spearman's a two-sided p of permuted arms
    (exact up to eight) with "p_holm" for the metrics. A metric with fewer than FEWEST arms, or the same value
    in all, is left out.

    Args:
        values: by metric, float [arms, frames], higher or lower is better as LOWER says.
        fidelity, drawn: from `fidelities`.
        which: bool [arms], those that count.
    """
    random, found = np.random.default_rng(0), {}
    weights = random.standard_gamma(1.0, (len(drawn), next(iter(values.values())).shape[1]))
    for name, each in values.items():
        held = which & np.isfinite(each).any(1)
        shown = np.isfinite(each[held]).all(0)  # the same frames of all arms
        good = each[held][:, shown] * (-1 if name in LOWER else 1)
        if held.sum() < FEWEST or np.ptp(good.mean(1)) < 1e-9:
            continue
        some = weights[:, shown] @ good.T / weights[:, shown].sum(1, keepdims=True)
        found[name] = {
            of: _correlated(good.mean(1), some, fidelity[held, f], drawn[:, held, f])
            for f, of in enumerate(FIDELITY)
        }
    for of in FIDELITY:
        entries = [entry[of] for entry in found.values()]
        for entry, p in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
            entry["p_holm"] = p
    return found


def _correlated(x: np.ndarray, xs: np.ndarray, y: np.ndarray, ys: np.ndarray) -> dict[str, Any]:
    spearman, pearson = correlation(rankdata(x), rankdata(y)), correlation(x, y)
    ranks = rankdata(xs, axis=-1), rankdata(ys, axis=-1)
    test: Any = permutation_test  # newer SciPy calls its random numbers `rng`, and takes the older name too
    p = test(
        (rankdata(x),),
        lambda one, axis: correlation(one, rankdata(y)),
        permutation_type="pairings",
        n_resamples=PERMUTATIONS,
        batch=5000,
        random_state=np.random.default_rng(0),
    ).pvalue
    return {
        "n": len(x),
        "spearman": float(spearman),
        "spearman_ci": interval(correlation(*ranks), float(spearman)),
        "pearson": float(pearson),
        "pearson_ci": interval(correlation(xs, ys), float(pearson)),
        "p": float(p),
    }


def correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's over the last axis; 0 where one side is all alike."""
    one, other = (x - x.mean(-1, keepdims=True) for x in (one, other))
    size = np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    return np.divide((one * other).sum(-1), size, out=np.zeros_like(size), where=size > 1e-12)


def show(name: str, found: Mapping[str, Any]) -> None:
    """Print the arms, and what predicts what."""

    def told(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    print(f"\n{name}")
    heads = [*FIDELITY, *METRICS]
    print_table(["arm", *heads], [[arm["name"], *(told(arm[h]) for h in heads)] for arm in found["arms"]])
    for group, metrics in found["groups"].items():
        print(f"Spearman over arms, {group}: interval, p (Holm for the metrics); Pearson")
        rows = []
        for metric, of in metrics.items():
            cells = []
            for each in FIDELITY:
                e = of[each]
                low, high = e["spearman_ci"]
                cells.append(
                    f"{e['spearman']:+.2f} [{low:+.2f}, {high:+.2f}] p {e['p']:.3f} ({e['p_holm']:.2f}); "
                    f"{e['pearson']:+.2f}"
                )
            rows.append([metric, str(of["mae"]["n"]), *cells])
        print_table(["metric", "arms", *FIDELITY], rows)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
