"""The training loop: a warm start or a distillation if there is one, then roll out, score, learn, save; the
same step from the same seed every time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from simedit.errors import SimeditError
from simedit.pipeline import SpecialistPipeline
from simedit.specialist import Card, Specialist
from simedit.training import checkpoint as checkpoints
from simedit.training.checkpoint import Checkpoint, Progress
from simedit.training.config import DistilledConfig, TrainConfig, check_counts
from simedit.training.data import Draw, draws
from simedit.training.distillation import Distillation, widened
from simedit.training.feedback import Feedback, judged
from simedit.training.guards import stopping
from simedit.training.log import PHASES, Log, finite
from simedit.training.photographs import central
from simedit.training.pictures import save_curves, save_grid
from simedit.training.policy import REFERENCE, Policy
from simedit.training.rollout import Rollout
from simedit.training.sampler import Material, Sampler
from simedit.training.update import Kept, accumulate
from simedit.training.warm_start import WarmStart

DROPPED = 0.1
"""The share of a step's inputs whose edits may lack a score before training stops."""

GRID_ROWS = 8

SAVE_EVERY = 25
"""Steps between two checkpoints of a warm start."""

SUMS = ("updates", "gradient_norm", "terms", "loss")
"""What is summed up over a step's updates, beside what the objective watches."""

# The base is on the card already, and paths mean nothing elsewhere.
PATHS: Any = {
    "base": True,
    "inputs": {"path", "masks", "asset_root"},
    "after": {"recipe"},
    "regions": {"style_masks"},
    "warm_start": {"teacher"},
}


class Interrupted(Exception):
    """Training was asked to stop, and what it had done is saved."""


class Trainer:
    """Trains one specialist in a run folder.

    The folder holds checkpoints/ (see simedit.training.checkpoint), metrics.jsonl, curves.png and grid_*.png,
    one for each step. All random numbers follow from the config's seed, the step and the sample, so a
    training that goes on from a checkpoint does what an uninterrupted one does: bit for bit on the CPU, with
    one process, on one kind of processor, with as many threads, the same versions of all libraries and the
    same batch sizes; to rounding elsewhere.

    Args:
        config: with the style's name filled in (`StyleConfig.named`).
        name: the specialist's.
        pipeline: the base, on the accelerator's device; it is changed in place.
        base: what the card names as base: a hub id or an absolute path.
        material: what it is trained from.
        folder: the run folder.
        teacher: which a distillation is from, on the same base.
        run_id: what the card's training record says of which run it was.
        accelerator: of one process or several.
        show: told (phase, done, of how many) as work goes on.

    Raises:
        SimeditError: counts that do not divide, or a teacher that does not fit.
    """

    def __init__(
        self,
        config: TrainConfig,
        name: str,
        pipeline: SpecialistPipeline,
        base: str,
        material: Material,
        folder: Path,
        *,
        teacher: Specialist | None = None,
        run_id: str = "",
        accelerator: Accelerator | None = None,
        show: Callable[[str, int, int], None] = lambda phase, done, of: None,
    ):
        self.accelerator = accelerator or Accelerator(cpu=True)
        check_counts(config, self.accelerator.num_processes)
        self.config, self.name, self.base, self.material = config, name, base, material
        self.folder, self.run_id, self.show = folder, run_id, show
        update = config.update
        self.policy = Policy(
            pipeline,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            seed=config.seed,
            scales=config.style.scales,
            bf16=config.precision == "bf16",
            gradient_checkpointing=update.gradient_checkpointing,
        )
        assert (teacher is not None) == isinstance(config.warm_start, DistilledConfig)
        self.teacher = teacher
        if teacher is not None:
            self.policy.load(widened(teacher, config.lora_rank, config.lora_alpha))
            self.policy.keep(REFERENCE)
        for name in config.objective.copies:
            self.policy.keep(name)
        self.sampler = Sampler(config, self.policy, material)
        self.optimizer = self._new_optimizer()
        self.done = Progress(step=0, processes=self.accelerator.num_processes)
        each = update.batch_size * update.accumulation * self.accelerator.num_processes
        self._updates = config.samples // each * update.epochs
        self._rollout: Rollout | None = None
        self._newest: dict[str, Tensor] = {}
        self._stop = False

    def _new_optimizer(self) -> torch.optim.Optimizer:
        update = self.config.update
        return torch.optim.AdamW(
            self.policy.parameters,
            lr=update.learning_rate,
            betas=update.betas,
            weight_decay=update.weight_decay,
        )

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            SimeditError: it is broken, of another base, adapter or config, further than the config's steps,
                or of another number of processes, which would share the inputs out otherwise.
        """
        found = checkpoints.load(path)
        if found.progress.step > self.config.steps:
            raise SimeditError(
                f"{path} has {found.progress.step} steps behind it, more than steps={self.config.steps}"
            )
        if found.progress.processes != self.done.processes:
            raise SimeditError(
                f"{path} was trained by {found.progress.processes} processes, here are "
                f"{self.done.processes}: go on with as many"
            )
        try:
            self._check(found)
            checkpoints.set_optimizer_state(self.optimizer, found.optimizer)
        except SimeditError as error:
            raise checkpoints.broken(path, error) from error
        for name, weights in found.copies.items():
            self.policy.load(replace(found.specialist, weights=weights))
            self.policy.keep(name)
        self.policy.load(found.specialist)
        self.done, self._rollout, self._newest = found.progress, found.rollout, found.newest

    def specialist(self) -> Specialist:
        """The specialist as it is now."""
        config = self.config
        kept = config.model_dump(mode="json", exclude=PATHS)
        record = {"run": self.run_id, "steps": self.done.step, "config": kept}
        if self._warm_steps:
            record["warm_start"] = self.done.warm
        if self.teacher is not None:
            record["teacher"] = self.teacher.card.model_dump(mode="json", exclude={"base"})
        card = Card(
            style=self.name,
            base=self.base,
            instruction=config.style.instruction,
            scales=config.style.scales,
            detail=config.style.detail,
            crop=config.style.crop,
            heights=config.style.heights or (config.height, config.height),
            style_image=central(self.material.styles),
            steps=config.sampling.steps,
            sampler=config.sampler,
            lora_rank=config.lora_rank,
            lora_alpha=config.lora_alpha,
            training=record if self.done.step or self.done.warm else None,
        )
        weights = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in self.policy.weights().items()
        }
        return Specialist(card, weights, self.material.styles)

    def run(self) -> Specialist:
        """Train to the config's number of steps, saving after each, and return the specialist.

        Nothing else writes to the folder meanwhile (see `simedit.locks.locked`).

        Raises:
            Interrupted: Ctrl-C or SIGTERM; a second one stops at once, without saving. Where several
                processes train, the first one does.
            SimeditError: too many inputs without a score, a gradient or weights that are not finite, or the
                folder cannot be written.
        """
        log = Log(self.folder, self.done.step + 1) if self.accelerator.is_main_process else None
        if self.done.step == 0 and self._rollout is None:
            self._save()
        # The checkpoint comes first and carries the step's record, so that none of both is lost or doubled
        # whatever fails in between.
        self._write_down(log)
        with self._stoppable():
            self._warm_up()
            for step in range(self.done.step, self.config.steps):
                if self._stop:  # all that is done is saved
                    raise Interrupted
                self.show("step", step, self.config.steps)
                self._step(step)
                self._save()
                self._write_down(log)
        if self.config.steps:
            self.show("step", self.config.steps, self.config.steps)
        return self.specialist()

    def stop(self) -> None:
        """Ask `run` to save what is done and to raise `Interrupted`, soon."""
        self._stop = True
        self.show("stopping", 0, 0)

    def _check(self, found: Checkpoint) -> None:
        """Check that a checkpoint's step in progress is one of this training's."""
        progress, rollout = found.progress, found.rollout
        wanted = self._warm_steps
        if (
            progress.warm > wanted
            or (progress.warm < wanted and progress.step)
            or found.copies.keys() != self._copies(progress.warm)
        ):
            kept = ", ".join(sorted(found.copies)) or "nothing"
            raise SimeditError(
                f"{progress.warm} steps of a warm start of {wanted} are done, and it keeps {kept}"
            )
        known = self._updates if rollout is not None and len(rollout) == self._share else 0
        if progress.updates > known:
            raise SimeditError(f"{progress.updates} updates are done of {known}")
        if not (
            progress.sums.keys() <= {*SUMS, *self.config.objective.watched}
            and progress.seconds.keys() <= set(PHASES)
        ):
            raise SimeditError(f"{checkpoints.PROGRESS} has sums or seconds of other names")
        if rollout is not None:
            self.sampler.check(rollout, self._draws(progress.step)[self._here])
        wordings, most = range(len(self.sampler.wordings)), self.config.scores.buffer_size
        keys = {f"{name}.{which}" for name in self.material.scores for which in wordings}
        fits = found.newest.keys() <= keys and all(
            value.dtype == torch.float32 and value.ndim == 1 and len(value) <= most
            for value in found.newest.values()
        )
        if not fits or bool(found.newest) != (self.config.scores.baseline == "prompt" and progress.step > 0):
            raise SimeditError(f"{checkpoints.SCORES} does not hold this training's newest scores")

    @property
    def _warm_steps(self) -> int:
        return 0 if self.config.warm_start is None else self.config.warm_start.steps

    def _copies(self, warm: int) -> set[str]:
        """The copies of the policy that are kept when so many steps of the warm start are done."""
        if warm < self._warm_steps:
            return set()
        return {*self.config.objective.copies, *([REFERENCE] if self._warm_steps else [])}

    def _warm_up(self) -> None:
        """What is left of the warm start; what it ends with is the feedback's reference."""
        config = self.config.warm_start
        if config is None or self.done.warm == config.steps:
            return
        accelerator = self.accelerator
        warm = self._taught() or WarmStart(self.config, self.policy, self.sampler, self.material)
        phase = "warm start" if self.teacher is None else "distillation"
        mine = range(accelerator.process_index, config.batch_size, accelerator.num_processes)
        self.policy.unet.train()
        for step in range(self.done.warm, config.steps):
            self.show(phase, step, config.steps)
            self._stop_if_asked()
            if step % SAVE_EVERY == 0:
                self._save()
            for group in self.optimizer.param_groups:
                group["lr"] = config.learning_rate * (1 - step / config.steps)
            if len(mine):
                warm.loss(step, mine).backward()
            self._apply()
            self.done = replace(self.done, warm=step + 1)
        self.policy.unet.eval()
        for name in (REFERENCE, *self.config.objective.copies):
            self.policy.keep(name)
        self.optimizer = self._new_optimizer()
        self._save()

    def _taught(self) -> Distillation | None:
        """The distillation, if it is one, when all its teacher's edits are there."""
        if self.teacher is None:
            return None
        config, teacher, accelerator = self.config, self.teacher, self.accelerator
        found = Distillation(
            config, self.policy, self.sampler, self.material, teacher, self.folder, self.run_id
        )
        mine = range(accelerator.process_index, found.edits, accelerator.num_processes)
        for done in found.prepare(mine):
            self.show("teacher", done, len(mine))
            self._stop_if_asked()
        accelerator.wait_for_everyone()
        return found

    def _step(self, step: int) -> None:
        config, drawn, here = self.config, self._draws(step), self._here
        mine = drawn[here]
        self.sampler.at(step)
        seconds = dict.fromkeys(PHASES, 0.0) | self.done.seconds
        self.done = replace(self.done, seconds=seconds)  # it counts on

        rollout = self._sample(mine, seconds)
        names, edits = list(self.material.scores), config.sampling.edits
        gathered = self._gather(torch.cat([rollout.scores[name] for name in names], 1))
        scores = dict(zip(names, gathered.split(edits, 1), strict=True))
        wording = torch.tensor([draw.wording for draw in drawn])
        found, newest = judged(config.scores, scores, wording, self._newest)
        lost, useful = int(found.lost.sum()), found.useful
        if lost > DROPPED * config.samples:
            raise SimeditError(
                f"{lost} of {config.samples} inputs of step {step + 1} have no score (NaN or infinite): "
                f"edits or a score's model overflow. Start anew with precision=fp32 or a lower "
                f"update.learning_rate"
            )
        if self.accelerator.is_main_process:
            with self._saved_if_it_fails():
                self._grid(step, mine, rollout, found)
        kept = Kept(rollout, self._prepared(step, mine, rollout, found.totals[here], seconds))
        sums = self._learn(step, kept, useful, seconds)

        terms, updates, best = max(1, sums["terms"]), max(1, sums["updates"]), found.best[useful, None]
        of_useful = {name: score[useful] for name, score in scores.items()}
        record = {
            "step": step + 1,
            **{name: _mean(score) for name, score in of_useful.items()},
            **{f"{name}_winner": _mean(score.gather(1, best)) for name, score in of_useful.items()},
            "total_margin": _mean(found.margins[useful]),
            "loss": sums["loss"] / terms,
            **{name: sums[name] / terms for name in config.objective.watched},
            "gradient_norm": sums["gradient_norm"] / updates,
            "dropped": lost,
            "tied": int(len(useful) - useful.sum()) - lost,
            "pairs": config.samples,
            "updates": int(sums["updates"]),
            "learning_rate": config.update.learning_rate,
            "seconds": seconds,
            "peak_memory": torch.cuda.max_memory_allocated() if self.policy.device.type == "cuda" else None,
        }
        config.objective.finish(self.policy, step + 1)
        done = self.done
        self.done = Progress(step + 1, done.processes, warm=done.warm, record=finite(record))
        self._rollout, self._newest = None, newest

    @property
    def _share(self) -> int:
        """How many of a step's inputs are this process's."""
        return self.config.samples // self.accelerator.num_processes

    @property
    def _here(self) -> slice:
        """Which of a step's inputs are."""
        first = self.accelerator.process_index * self._share
        return slice(first, first + self._share)

    def _draws(self, step: int) -> list[Draw]:
        """What the edits of a step are made from, all processes'."""
        counts = len(self.material.inputs), len(self.sampler.wordings), len(self.material.styles)
        return draws(self.config.seed, step, self.config.samples, *counts)

    def _sample(self, mine: list[Draw], seconds: dict[str, float]) -> Rollout:
        """This process's edits of the step, with their scores; those of an interrupted step come first."""
        parts = [] if self._rollout is None else [self._rollout]
        done = sum(len(part) for part in parts)
        while done < len(mine):
            batch = mine[done : done + self.config.sampling.batch_size]
            parts.append(self.sampler.batch(batch, seconds))
            done += len(batch)
            self.show("sample", done, len(mine))
            if self._stop:
                break
        self._rollout = Rollout.cat(parts)
        self._stop_if_asked()
        return self._rollout

    def _prepared(
        self, step: int, mine: list[Draw], rollout: Rollout, totals: Tensor, seconds: dict[str, float]
    ) -> dict[str, Tensor]:
        """What the objective wants beside the rollout."""

        def tick(done: int) -> None:
            self.show("reference", done, len(rollout))
            self._stop_if_asked()

        started = time.perf_counter()
        prepared = self.config.objective.prepare(
            self.sampler,
            rollout,
            totals,
            seeds=[draw.noise_seed for draw in mine],
            first=step == 0,
            batch_size=self.config.sampling.batch_size,
            tick=tick,
        )
        seconds["reference"] += time.perf_counter() - started
        return prepared

    def _learn(self, step: int, kept: Kept, useful: Tensor, seconds: dict[str, float]) -> dict[str, float]:
        """Update on group after group of inputs: this process takes its share of each."""
        config, objective, share = self.config.update, self.config.objective, len(kept)
        processes, mine = range(self.accelerator.num_processes), self.accelerator.process_index
        # Rows of each process's share, in an order that all processes know.
        orders = [
            [np.random.default_rng([self.config.seed, step, epoch, p]).permutation(share) for p in processes]
            for epoch in range(config.epochs)
        ]
        group = config.batch_size * config.accumulation
        groups = [[o[p][i : i + group] for p in processes] for o in orders for i in range(0, share, group)]
        names = (*SUMS, *objective.watched)
        sums = dict.fromkeys(names, 0.0) | self.done.sums
        learn = useful.numpy()
        self.policy.unet.train()
        for i in range(self.done.updates, len(groups)):
            started = time.perf_counter()
            some = [torch.from_numpy(rows[learn[p * share + rows]]) for p, rows in enumerate(groups[i])]
            if count := sum(len(rows) for rows in some):
                part, size = kept[some[mine]], config.batch_size
                found = accumulate(self.sampler, objective, part, batch_size=size, total=count)
                values = self._reduce(torch.tensor([found.terms, found.loss, *found.watched.values()]))
                now = dict(zip(names, (1.0, self._apply(), *values.tolist()), strict=True))
                sums = {name: sums[name] + now[name] for name in names}
            self.done = replace(self.done, updates=i + 1, sums=sums)
            seconds["update"] += time.perf_counter() - started
            self.show("update", i + 1, len(groups))
            self._stop_if_asked()
        self.policy.unet.eval()
        return sums

    def _apply(self) -> float:
        """One optimizer step with the gradients that all processes accumulated; returns their norm."""
        parameters = self.policy.parameters
        for parameter in parameters:
            parameter.grad = self._reduce(
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            )
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.update.gradient_norm).item()
        if not np.isfinite(norm):
            raise SimeditError(
                "the gradient is not finite: go on with a lower update.learning_rate, or start anew with "
                "precision=fp32"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in their order, on the CPU."""
        return torch.as_tensor(self.accelerator.gather(rows.to(self.accelerator.device))).cpu()

    def _reduce(self, values: Tensor) -> Tensor:
        """The sum over all processes, on the accelerator's device."""
        return torch.as_tensor(self.accelerator.reduce(values.to(self.accelerator.device), "sum"))

    def _grid(self, step: int, mine: list[Draw], rollout: Rollout, found: Feedback) -> None:
        rows = np.unique(np.linspace(0, len(mine) - 1, min(GRID_ROWS, len(mine))).round().astype(int))
        edits = self.sampler.decode(rollout.latents[rows][:, :, -1]).nan_to_num(0).cpu()
        best = torch.where(found.useful, found.best, -1)[self._here]
        numbers = rollout.scores | {"total": found.totals[self._here]}
        labels = [
            [
                "\n".join(f"{name} {of[row, g]:.3f}" for name, of in numbers.items())
                for g in range(edits.shape[1])
            ]
            for row in rows
        ]
        save_grid(
            self.folder / f"grid_{step + 1:04d}.png",
            np.stack([self.material.inputs[mine[row].input][0] for row in rows]),
            (edits * 255).round().byte().permute(0, 1, 3, 4, 2).numpy(),
            best[rows].numpy(),
            self.sampler.style_frames[[mine[row].style for row in rows]],
            labels,
        )

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            state = checkpoints.optimizer_state(self.optimizer)
            copies: dict[str, dict[str, Tensor]] = {}
            for name in sorted(self._copies(self.done.warm)):
                with self.policy.being(name):
                    copies[name] = {k: v.detach().cpu().clone() for k, v in self.policy.weights().items()}
            found = Checkpoint(self.specialist(), state, self.done, self._rollout, copies, self._newest)
            checkpoints.save(self.folder / "checkpoints", found, keep=self.config.keep)
        self.accelerator.wait_for_everyone()

    def _write_down(self, log: Log | None) -> None:
        """Have the log hold the last whole step."""
        record = self.done.record
        if log is None or record is None:
            return
        if not log.records or log.records[-1]["step"] < record["step"]:
            log.write(record)
        objective = self.config.objective
        loss = (objective.loss_title, objective.loss_at_first)
        save_curves(
            self.folder / "curves.png", log.records, list(self.material.scores), loss, objective.watched
        )

    @contextlib.contextmanager
    def _saved_if_it_fails(self) -> Iterator[None]:
        """What cannot be written can be after a mistake is mended; the edits are there then."""
        try:
            yield
        except SimeditError:
            if self.accelerator.num_processes == 1:  # else none of the others would meet it in `_save`
                self._save()
            raise

    def _stoppable(self) -> contextlib.AbstractContextManager[None]:
        """Inside, a request to stop is kept for `_stop_if_asked`. Several processes would stop at different
        points, so there it acts at once, and whole steps are what is saved."""

        return stopping(self.stop) if self.accelerator.num_processes == 1 else contextlib.nullcontext()

    def _stop_if_asked(self) -> None:
        if self._stop:
            self._save()
            raise Interrupted


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else float("nan")
