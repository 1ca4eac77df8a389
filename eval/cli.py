"""The command `simedit-eval`: the one place where the evaluation meets concrete environments and policies."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from simedit.config import check_set_once
from simedit.errors import SimeditError, run_cli, unknown
from simedit.eval.downloads import assets, checkpoints

# Everything heavy is imported where it is used, so that help and mistakes do not wait for torch.
if TYPE_CHECKING:
    from simedit.eval.config import StudyConfig
    from simedit.eval.shards import Shard
    from simedit.eval.store import Store
    from simedit.eval.trials import Result, Trial
    from simedit.eval.worker import Plays

DESCRIPTION = """\
Measure how well simulated success rates predict real ones.

  simedit-eval run --config demo --out runs/demo
  simedit-eval run --config paper --out runs/paper --dry-run
  simedit-eval run --config demo --out runs/more --set 'seeds=[0,1,2]' editor.steps=2
  simedit-eval status runs/demo
  simedit-eval status runs/demo --watch
  simedit-eval status
  simedit-eval report runs/demo --json
  simedit-eval run --config paper --out runs/paper --ray auto
  simedit-eval run --config paper --out runs/part-3 --shard 3/16
  simedit-eval merge runs/paper runs/part-1 runs/part-2 runs/part-3
  simedit-eval compare runs/demo runs/more --out compare.html
  simedit-eval evidence runs/demo:vismatch runs/demo:edited
  simedit-eval evidence before=runs/demo:edited/gold after=runs/more:edited/gold
  simedit-eval published
  simedit-eval configs
  simedit-eval configs demo --out study.yaml
  simedit-eval assets fetch
  simedit-eval checkpoints list
  simedit-eval checkpoints fetch rt1-converged

A run may be stopped at any moment, by Ctrl-C, kill -9 or a power cut, and goes on when the same command is
given again. Policies, styles, scenes and seeds may be added to a finished run in the same way.
"""

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def run(
    config: Path,
    out: Path,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    num_envs: int | None = None,
    ray: Annotated[str | None, tyro.conf.arg(metavar="local|auto|HOST:PORT")] = None,
    shard: Annotated[str | None, tyro.conf.arg(metavar="K/N")] = None,
    log_json: Flag = False,
    dry_run: Flag = False,
) -> None:
    """Run a study's missing trials, then write report.json and report.html.

    Args:
        config: The study: a YAML file (paths in it are relative to the working directory), or the name of one
            that ships (simedit-eval configs). Real rates of your own are a file that its real.source names:
            CSV (the line policy,TASK,..., then one for each policy, such as A,22/27,81.5%), or YAML or JSON
            laid out like lab/data/real.yaml.
        out: The run folder; a study that was begun there goes on.
        overrides: Settings in place of the config's, for example: seeds=[0,1] editor.steps=8
        num_envs: Environments that run at once, each in a process of its own, which is replaced if it dies or
            hangs (see the study's timeouts). On the CPU each has an editor and one thread (or
            OMP_NUM_THREADS), so as many as cores are fastest and results the same; on a GPU they share an
            editor, and results are the same up to its rounding. By default 1, with --ray as many as there is
            room for.
        ray: Run them as Ray actors: "local" starts Ray on this machine, "auto" takes the cluster that it
            belongs to, HOST:PORT another; see the study's resources.
        shard: Run only part K of N of the study's trials, in a folder of its own, for example 3/16; the split
            is the same on every machine. `simedit-eval merge` puts the parts together.
        log_json: Tell of progress on stderr in JSON, an object a line, for programs that watch.
        dry_run: Only print what would be done, and measure how long it would take (with one environment).
            Nothing is written.
    """
    from simedit.config import load_config
    from simedit.eval.absent import describe, playable
    from simedit.eval.checks import check_disk, find_problems
    from simedit.eval.config import StudyConfig, resolved
    from simedit.eval.fingerprints import current_meaning, played_with
    from simedit.eval.published import load_real
    from simedit.eval.run_folder import check_shard, keep, write_report
    from simedit.eval.shards import Shard
    from simedit.eval.store import Store
    from simedit.eval.study import remaining
    from simedit.eval.summary import Facts
    from simedit.eval.terminal import print_summary
    from simedit.eval.trials import trials
    from simedit.packaged import config_file

    if num_envs is not None and num_envs < 1:
        raise SimeditError(f"--num-envs must be 1 or more, got {num_envs}")
    chosen = None if shard is None else Shard.parse(shard)
    file = config_file("eval", config)
    sys.path.append(str(file.absolute().parent))  # a policy of the user's own may lie beside it
    study = resolved(load_config(StudyConfig, file, overrides))
    problems, absent = find_problems(study, out)
    everything = list(trials(study))
    wanted = playable(everything, absent)
    # Of all trials: which files are absent may differ from machine to machine.
    whole_part = everything if chosen is None else chosen.of(everything)
    part = playable(whole_part, absent)
    if not wanted:
        problems.append(f"no trial is left to run, for files are absent: {describe(absent)}")
    elif len(part) < len(whole_part):
        lost = len(whole_part) - len(part)
        print(f"{lost} trials are not run, for their files are absent: {describe(absent)}")
    if dry_run:
        return _dry_run(study, part, out, problems, chosen)
    if problems:
        raise SimeditError("this study cannot start:" + "".join(f"\n  - {problem}" for problem in problems))
    with Store(out, write=True) as store:
        if chosen is not None:
            check_shard(store, chosen)
            print(f"shard {chosen}: {len(part)} of the study's {len(wanted)} trials")
        specialists = _specialists(study, out)
        store.agree(current_meaning(study, specialists))
        todo = remaining(part, store.results())
        check_disk(study, todo, out)
        untrained = study.editor.untrained(specialists)
        blind = [name for name, policy in study.policies.items() if not policy.uses_images]
        facts = Facts(untrained=untrained, blind=blind, absent=absent, shard=str(chosen or ""))
        keep(store, study, load_real(study.real, study.suite, list(study.policies), study.tasks), facts)
        if todo:
            _keep_player(store, played_with())
            players: list[dict[str, str]] = []
            crew = _crew(study, specialists, num_envs, ray, len(todo), players)
            _work(study, wanted, part, todo, store, crew, log_json, players)
        summary = write_report(store)
    print_summary(summary)
    print(f"report: {out / 'report.html'}")


def report(folder: Folder, json: Flag = False) -> None:
    """Print the report of what is stored, and write report.json and report.html anew.

    The page is one file under 20 MB that needs no network: its trials can be filtered and sorted, and a rate,
    a point or a cell leads to its trials and their recordings.

    Args:
        folder: The run folder.
        json: Print report.json's content instead of a table.
    """
    from simedit.eval.run_folder import compose_report, save_report
    from simedit.eval.store import Store
    from simedit.eval.terminal import print_summary

    with Store(folder, write=False) as store:
        summary, page = compose_report(store)
    if json:
        _print_json(summary)
    else:
        print_summary(summary)
    if not os.access(folder, os.W_OK):  # an archive, a colleague's folder
        print(f"note: {folder} cannot be written, so the report in it stays as it is", file=sys.stderr)
        return
    save_report(folder, summary, page)
    if not json:
        print(f"report: {folder / 'report.html'}")


def merge(
    out: Folder,
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")],
) -> None:
    """Put run folders of one study together, such as its shards, and write the whole study's report.

    Folders of other settings or files are refused, and so are trials that ended differently. Given again, it
    changes nothing; where trials are missing, simedit-eval run --out OUT goes on.

    Args:
        out: Where to: a new folder, or a run folder, which keeps what it has.
        folders: What is put together; nothing in them is changed.
    """
    from simedit.eval.merge import merge
    from simedit.eval.terminal import print_summary

    print_summary(merge(out, folders))
    print(f"report: {out / 'report.html'}")


def compare(first: Folder, second: Folder, out: Path = Path("compare.html"), json: Flag = False) -> None:
    """Print what changed from one run to another, and write it as a page like the report.

    Compared are the trials that both finished, each with itself.

    Args:
        first: A run folder.
        second: Another one.
        out: The page, one file.
        json: Print JSON instead of tables.
    """
    from simedit.eval.changes import changes
    from simedit.eval.changes_page import changes_html, save_page
    from simedit.eval.terminal import print_changes
    from simedit.eval.two_runs import read_runs

    runs = read_runs(first, second)
    found = changes(*runs)
    save_page(out, changes_html(found, *runs))
    if json:
        _print_json(found)
    else:
        print_changes(found)
    print(f"page: {out}", file=sys.stderr if json else sys.stdout)


def evidence(
    arms: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ARM ...")],
    out: Path = Path("evidence.png"),
    json: Flag = False,
) -> None:
    """Print how well arms predict real rates, in rank and in level, and whether others do so better than the
    first: paired tests over situations and policies.

    An arm is the trials of one domain of a run folder. Arms that are compared have three policies or more
    with their real rates in common, a seed, and nine situations a task that every policy finished. Printed
    are MMRV, r and the mean errors of each arm; how many real trials for each policy it is worth; the error
    of every policy's rate, task by task; and advantages over the first arm. docs/evidence.md says how to read
    them.

    Args:
        arms: FOLDER:DOMAIN; FOLDER:DOMAIN/STYLE for one style of an edited one; FOLDER for all its domains;
            each with NAME= before it to name it. The first is what the others are compared with.
        out: Where the picture goes, PNG: each policy's error in each arm.
        json: Print JSON instead of tables.
    """
    from simedit.eval.arms import read_arms
    from simedit.eval.evidence import evidence
    from simedit.eval.evidence_picture import save_evidence
    from simedit.eval.terminal import print_evidence

    read = read_arms(arms)
    found = evidence(read, [(arm.name, read[0].name) for arm in read[1:]])
    save_evidence(out, found)
    if json:
        _print_json(found)
    else:
        print_evidence(found)
    print(f"picture: {out}", file=sys.stderr if json else sys.stdout)


def status(
    folder: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER]")] = None,
    watch: Flag = False,
    json: Flag = False,
) -> None:
    """Print how far a run is, by policy and domain, beside the trials of the published protocols.

    Args:
        folder: The run folder. Without one only the published protocols' trials for a policy are printed.
        watch: Show how it goes on, until it is over or Ctrl-C: rates, retries, the time left.
        json: Print JSON instead of a table.
    """
    from simedit.envs.suite import default_suite
    from simedit.eval import progress
    from simedit.eval.run_folder import kept
    from simedit.eval.store import Store
    from simedit.eval.summary import status
    from simedit.eval.terminal import print_table

    if watch:
        if folder is None or json:
            raise SimeditError("--watch goes with a FOLDER, and not with --json")
        return progress.watch(folder)
    if folder is None:
        published = default_suite().published_trials()
        if json:
            return _print_json({"published": published})
        return print_table(["domain", "published trials for a policy"], list(published.items()))
    with Store(folder, write=False) as store:
        config, _, facts = kept(store)
        found = status(config, store.results(), facts)
        found["run"] = progress.kept_progress(store)
    if json:
        return _print_json(found)
    counts = ("wanted", "finished", "errors", "absent", "missing")
    rows = [
        [*(group[key] for key in ("policy", "domain", *counts)), group["published"] or "-"]
        for group in found["groups"]
    ]
    total = ["all", "", *(found[key] for key in counts), ""]
    print_table(["policy", "domain", *counts, "protocol"], [*rows, total])
    if found["run"]:
        print(f"this run: {progress.line(found['run'])}; {progress.since(found['run'])}")


def published(json: Flag = False) -> None:
    """Recompute MMRV and r of the published domains from their per-policy success rates.

    Args:
        json: Print JSON, in the layout of report.json.
    """
    from simedit.eval.summary import published_summary
    from simedit.eval.terminal import print_metrics

    summary = published_summary()
    if json:
        return _print_json(summary)
    print_metrics(summary)
    for name, source in summary["sources"].items():
        print(f"{name}: {source}")


def configs(
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None,
    out: Path | None = None,
) -> None:
    """List the configs that ship, or show or copy one: studies (simedit-eval run --config NAME), trainings
    (simedit-train --config NAME) and styles of a training (simedit-train --style NAME).

    Args:
        name: The one to show; by default all are listed.
        out: A file to write it to.
    """
    from simedit.drafts import whole
    from simedit.packaged import CONFIGS, packaged_configs

    ours = {kind: packaged_configs(kind) for kind in CONFIGS}
    if name is None:
        if out is not None:
            raise SimeditError("--out is where one config goes: give its NAME too")
        for kind, found in ours.items():
            print(f"{CONFIGS[kind]}:")
            for each, file in found.items():
                print(f"  {each:25} {file.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
        return
    known = {each: file for found in ours.values() for each, file in found.items()}
    if name not in known:
        raise unknown("config", name, known)
    text = known[name].read_text(encoding="utf-8")
    if out is None:
        return print(text, end="")
    if out.exists():
        raise SimeditError(f"{out} exists: choose another --out")
    with whole(out) as draft:
        draft.write_text(text, encoding="utf-8")
    print(f"wrote {out}")


def main(args: Sequence[str] | None = None) -> int:
    """Run `simedit-eval` with `args` (default: the process's) and return its exit code."""
    commands: dict[str, Callable[..., Any]] = {
        "run": run,
        "report": report,
        "merge": merge,
        "compare": compare,
        "evidence": evidence,
        "status": status,
        "published": published,
        "configs": configs,
        "assets": assets,
        "checkpoints": checkpoints,
    }

    def command() -> None:
        check_set_once(sys.argv[1:] if args is None else args)
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="simedit-eval", description=DESCRIPTION, args=args
        )

    code = run_cli(command)
    if args is None:
        # Another Ctrl-C, while Python ends, would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


def _specialists(study: StudyConfig, out: Path) -> dict[str, Path]:
    """The folder of each wanted style's specialist; what has to be made first is made in the folder `out`."""
    return study.editor.folders(study.styles, out) if "edited" in study.domains else {}


def _crew(
    study: StudyConfig,
    specialists: Mapping[str, Path],
    num_envs: int | None,
    address: str | None,
    most: int,
    players: list[dict[str, str]],
) -> AbstractContextManager[Sequence[Plays]]:
    """The workers: processes of this machine, or actors of a Ray cluster, whose machines become `players`."""
    if address is None:
        from simedit.eval.remote import local_workers

        return local_workers(study, specialists, min(num_envs or 1, most))
    from simedit.eval.on_ray import ray_workers

    return ray_workers(study, specialists, min(num_envs or most, most), address, players.append)


def _keep_player(store: Store, player: dict[str, str]) -> None:
    from simedit.eval.run_folder import keep_player

    if differ := keep_player(store, player):
        print(f"note: not all trials in {store.folder} are played with the same: {differ}", file=sys.stderr)


def _work(
    study: StudyConfig,
    wanted: Sequence[Trial],
    part: Sequence[Trial],
    todo: Sequence[Trial],
    store: Store,
    crew: AbstractContextManager[Sequence[Plays]],
    log_json: bool,
    players: list[dict[str, str]],
) -> None:
    from simedit.eval.progress import KEY, progress
    from simedit.eval.study import run_study
    from simedit.eval.tally import Tally
    from simedit.eval.worker import rehearse_policies

    store.write(KEY, None)  # who watches shall not take an earlier run for this one
    try:
        with crew as workers:
            rehearse_policies(todo, store.results(), workers[0])
            tally = Tally(todo, store.results(), len(workers))
            with progress(tally, store, log_json=log_json) as (finished, postponed):

                def ended(result: Result, seconds: float) -> None:
                    while players:  # others add to them, in threads in which the store cannot be used
                        _keep_player(store, players.pop())
                    finished(result, seconds)

                queue = run_study(
                    wanted,
                    part=part,
                    store=store,
                    workers=workers,
                    report=study.report,
                    progress=ended,
                    postponed=postponed,
                )
        if queue.deaths:
            died = f"the environment, or what plays in it, died {queue.deaths} times"
            print(f"{died}, last in {queue.last}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"finished trials are stored in {store.folder}; the same command goes on", file=sys.stderr)
        raise


def _dry_run(
    study: StudyConfig, wanted: Sequence[Trial], out: Path, problems: Sequence[str], shard: Shard | None
) -> None:
    from simedit.eval.estimate import disk_bytes, frames_to_edit
    from simedit.eval.fingerprints import current_meaning
    from simedit.eval.remote import local_workers
    from simedit.eval.rollout import EnvironmentDied
    from simedit.eval.run_folder import check_shard
    from simedit.eval.store import Store
    from simedit.eval.study import remaining
    from simedit.eval.worker import rehearse_policies

    stored = {}
    with tempfile.TemporaryDirectory() as folder:
        specialists = {} if problems else _specialists(study, Path(folder))
        if os.path.exists(out / "results.sqlite"):
            with Store(out, write=False) as store:
                stored = store.results()
                if shard is not None:
                    check_shard(store, shard)
                if not problems:
                    store.check(current_meaning(study, specialists))
        todo = remaining(wanted, stored)
        for name, policy in study.policies.items():
            print(f"policy {name}: {json.dumps(policy.model_dump(mode='json', exclude_defaults=True))}")
        of = "" if shard is None else f" in shard {shard}"
        print(f"trials{of}: {len(wanted)} wanted, {len(wanted) - len(todo)} stored, {len(todo)} to run")
        print(f"control steps: at most {len(todo) * study.max_steps}")
        print(f"frames to edit: at most {frames_to_edit(study, todo)}")
        print(f"disk: about {disk_bytes(study, todo) / 1e6:.0f} MB")
        if problems:
            print("hours: not measured, for a run would be refused now:")
            for problem in problems:
                print(f"  - {problem}")
        if problems or not todo:
            return
        with local_workers(study, specialists, 1) as (worker,):
            rehearse_policies(todo, stored, worker)
            try:
                measured = worker.seconds_per_step(todo)
            except EnvironmentDied as died:
                raise SimeditError(f"cannot measure: {died}") from died
    hours = sum(measured[trial.domain] for trial in todo) * study.max_steps / 3600
    print(f"hours: about {hours:.2g}, if every episode takes all its steps")
    for domain, seconds in measured.items():
        print(f"  measured: {seconds:.2f} s a control step in the domain {domain}")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
