"""The command `simedit-lab`: makes the lab's models anew, and further specialists on its base."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from simedit.config import check_set_once, load_config, parse_config, with_override
from simedit.errors import SimeditError, run_cli, unknown
from simedit.names import check_name

DESCRIPTION = """\
The whole study in miniature: a small base, its specialists and policies, and a real world that is rendered.

  simedit-eval run --config lab --out runs/lab                     # the study, with the models that ship
  simedit-lab build --out runs/lab-build                             # those models from nothing, in hours
  simedit-lab train-style copper                                     # one more specialist, in minutes
  simedit-lab train-style teak --style-images photos/teak
  simedit-lab check                                                  # are the edits any good?
  simedit-lab push-t --out runs/push-t                               # do edits help to learn?
  simedit-lab ablate --out runs/ablations                            # what is each part of the method worth?

A build that was stopped goes on when the same command is given again.
"""


def build(
    out: Path,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
) -> None:
    """Make everything that ships from nothing, stage by stage; the result is in OUT/data.

    Args:
        out: The build's folder.
        overrides: Settings in place of the defaults, for example: styles=[gold] base_steps=500
    """
    from simedit.lab import build as stages

    data = stages.Plan().model_dump(mode="json")
    for override in overrides:
        data = with_override(data, override)
    plan = parse_config(stages.Plan, data, where="--set")
    stages.build(out, plan, lambda line: print(line, flush=True))
    print(f"built: {out / 'data'}")
    print(f"use it: simedit-eval run ... --set editor.library={out / 'data' / 'specialists'}")


def train_style(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    style_images: Path | None = None,
    out: Path | None = None,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
) -> None:
    """Train one more specialist with simedit-train on the lab's base, which ships with simedit: nothing is
    downloaded. The same command goes on after a stop, another one for the same NAME is refused.

    Args:
        name: The specialist's name, which its instruction speaks of, with _ as a space.
        style_images: A folder of photographs. By default the lab paints its own, if it knows the material.
        out: Where the specialist goes. By default specialists/NAME.
        overrides: Settings in place of lab/train.yaml's, for example: steps=10 samples=64
    """
    from simedit.lab import build as stages
    from simedit.lab.materials import MATERIALS
    from simedit.lab.photographs import save_style
    from simedit.packaged import lab_data

    check_name(name, "specialist's name")
    base, run = lab_data("base"), Path("runs/train") / name
    stages.style_config(base, overrides)  # what is misspelt is met before anything is written
    if style_images is None:
        if name not in MATERIALS:
            problem = unknown("material", name, MATERIALS)
            raise SimeditError(f"{problem}. For any other, give photographs of it: --style-images FOLDER")
        style_images = run / "photographs"
        save_style(name, style_images)
    target = out or Path("specialists") / name
    stages.train_style(name, style_images, base=base, run=run, target=target, settings=overrides)


def check(library: Path | None = None, json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False) -> None:
    """Judge specialists on frames that no training saw: do edits look like their style, do edges survive?

    Args:
        library: A folder of specialists made with the lab's base. By default those that ship.
        json: Print everything that was measured, in place of a table.
    """
    from json import dumps

    from simedit.eval.terminal import print_table
    from simedit.lab.build import judged
    from simedit.packaged import lab_data
    from simedit.training.worth import verdict

    found = judged(library or lab_data("specialists"))
    if json:
        return print(dumps(found, indent=2))
    rows = []
    for style, seen in found.items():
        apart = dict(seen["distance"])
        own = [f"{apart.pop(name):.1f}" for name in ("edit", "base", "raw")]
        other = f"{min(apart.values()):.1f} {min(apart, key=lambda name: apart[name])}" if apart else ""
        kept = [f"{seen['edges']:.0%}", f"{seen['edges_laid']:.0%}"]
        rows.append([style, *own, other, f"{seen['nearest']} of {seen['frames']}", *kept])
    heads = ["style", "distance", "base's", "raw", "nearest other", "nearest on", "edges kept", "at best"]
    print_table(heads, rows)
    for style, seen in found.items():
        print(verdict(style, seen))


def push_t(
    out: Path,
    config: Path | None = None,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """The Push-T study: policies that learned from raw and from edited pictures, judged in proxy-real or on
    datasets of a real robot.

    OUT gets report.json, figure.png and strip.png, and what was made on the way. It takes hours, and goes on
    when the same command is given again.

    Args:
        out: The study's folder.
        config: A YAML file of settings, or the name of one that ships: push_t is at full size, on datasets.
        overrides: Settings in place of the config's, for example: episodes=50 policies=1. shipped=true judges
            the recipe and the policies that ship, and trains none.
        dry_run: Only say how much work it is, and what is missing.
        json: Print report.json's content instead of tables.
    """
    from json import dumps

    from simedit.eval.terminal import print_table
    from simedit.lab.push_t import report
    from simedit.lab.push_t.needs import missing, work
    from simedit.lab.push_t.plan import Plan
    from simedit.lab.push_t.study import study
    from simedit.packaged import config_file

    if config is not None:
        plan = load_config(Plan, config_file("study", config), overrides)
    else:
        data = Plan().model_dump(mode="json")
        for override in overrides:
            data = with_override(data, override)
        plan = parse_config(Plan, data, where="--set")
    lacking = missing(plan)
    if dry_run:
        print_table(["the study", ""], [list(row) for row in work(plan)])
        for line in lacking:
            print(f"missing: {line}")
        return print(f"cannot begin: {len(lacking)} missing" if lacking else "nothing is missing")
    if lacking:
        raise SimeditError(" | ".join(lacking))
    content = study(out, plan, lambda line: print(line, file=sys.stderr, flush=True))
    if json:
        return print(dumps(content, indent=2))
    print_table(*report.rows(content))
    for line in report.sentences(content):
        print(line)
    print(f"pictures: {out / 'figure.png'} {out / 'strip.png'}")


def ablate(
    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME ...]")] = (),
    *,
    out: Path,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    jobs: int | None = None,
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Vary one thing of the method at a time, and measure what comes of it on frames that no training saw.

    OUT/NAME gets report.json with every value, and figure.png. What was stopped goes on when the same command
    is given again; a training that ablations have in common is done once.

    Args:
        names: Which: alpha encoder guidance lambda sampling_steps structure style_images training_steps, or
            YAML files of your own. By default all that ship.
        out: The folder of all of them.
        overrides: Settings in place of each one's own, for example: seeds=3 frames=20 'set=[steps=20]'
        jobs: How many trainings go on at once, one core each. By default as many as there are cores, or one
            on a GPU.
        dry_run: Only say how much work it is, and what is left out.
    """
    from simedit.eval.terminal import print_table
    from simedit.lab.ablations import figure, report
    from simedit.lab.ablations.config import load_ablations
    from simedit.lab.ablations.study import at_once, do_ablations, work

    if jobs is not None and jobs < 1:
        raise SimeditError(f"--jobs must be 1 or more, not {jobs}")
    ablations = load_ablations(names, overrides)
    heads, lines, left_out = work(out, ablations)
    if dry_run:
        print_table(heads, lines)
        for line in left_out:
            print(f"left out: {line}")
        return
    do_ablations(out, ablations, jobs or at_once())
    for name, ablation in ablations.items():
        content = report.report(out, name, ablation)
        figure.draw(out / name / "figure.png", content)
        print(f"{name}: {ablation.title}")
        print_table(*report.rows(content))
        for line in report.sentences(content):
            print(line)
        print(f"figure: {out / name / 'figure.png'}\n")


def main(args: Sequence[str] | None = None) -> int:
    """Run `simedit-lab` with `args` (default: the process's) and return its exit code."""

    def command() -> None:
        check_set_once(sys.argv[1:] if args is None else args)
        tyro.extras.subcommand_cli_from_dict(
            {
                "build": build,
                "train-style": train_style,
                "check": check,
                "push-t": push_t,
                "ablate": ablate,
            },
            prog="simedit-lab",
            description=DESCRIPTION,
            args=args,
        )

    return run_cli(command)


if __name__ == "__main__":
    raise SystemExit(main())
