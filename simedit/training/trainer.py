"""The training loop: sample pairs, score, rank, learn, save; the same step from the same seed every time."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from simedit.errors import SimeditError
from simedit.pipeline import SpecialistPipeline
from simedit.scores import Score, Targets
from simedit.specialist import Card, Specialist
from simedit.training import checkpoint as checkpoints
from simedit.training.checkpoint import Checkpoint, Progress
from simedit.training.config import TrainConfig, check_counts
from simedit.training.data import Draw, Inputs, draws, fit
from simedit.training.log import Log
from simedit.training.pairs import Pairs, sample_pairs
from simedit.training.pictures import save_curves, save_grid
from simedit.training.policy import Encoded, Policy
from simedit.training.preference import total
from simedit.training.update import Ranked, accumulate, chosen_steps, reference_log_probs

DROPPED = 0.1
"""The share of a step's pairs that may lack a score before training stops."""

GRID_ROWS = 8


class Interrupted(Exception):
    """Training was asked to stop, and what it had done is saved."""


@dataclass(frozen=True)
class Material:
    """What a specialist is trained from.

    Attributes:
        inputs: the frames to edit.
        styles: the style images, uint8 [h, w, 3] each.
        masks: (indices, frames uint8 [N, H, W, 3], the inputs' own masks) -> bool [N, H, W].
        style_masks: one bool [h, w] for each style image.
        structural, semantic: the scores.
    """

    inputs: Inputs
    styles: tuple[np.ndarray, ...]
    masks: Callable[[Sequence[int], np.ndarray, Sequence[np.ndarray | None]], np.ndarray]
    style_masks: Sequence[np.ndarray]
    structural: Score
    semantic: Score


class Trainer:
    """Trains one specialist in a run folder.

    The folder holds checkpoints/ (see simedit.training.checkpoint), metrics.jsonl, curves.png and a grid_*.png
    for each step. All random numbers follow from the config's seed, the step and the sample, so a training
    that goes on from a checkpoint does what an uninterrupted one does.

    Args:
        config: with the style's name filled in (`StyleConfig.named`).
        name: the specialist's.
        pipeline: the base, on accelerator.device; it is changed in place.
        base: what the card names as base: a hub id or an absolute path.
        material: what it is trained from.
        folder: the run folder.
        accelerator: of one process or several.
        show: told (phase, done, of how many) as work goes on.

    Raises:
        SimeditError: counts that do not divide, a checkpoint that does not fit.
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
        accelerator: Accelerator | None = None,
        show: Callable[[str, int, int], None] = lambda phase, done, of: None,
    ):
        self.accelerator = accelerator or Accelerator(cpu=True)
        check_counts(config, self.accelerator.num_processes)
        self.config, self.name, self.base, self.material = config, name, base, material
        self.folder, self.show = folder, show
        self.policy = Policy(
            pipeline,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            seed=config.seed,
            scales=config.style.scales,
            bf16=config.precision == "bf16",
            gradient_checkpointing=config.update.gradient_checkpointing,
        )
        update = config.update
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters,
            lr=update.learning_rate,
            betas=update.betas,
            weight_decay=update.weight_decay,
        )
        self.schedule = pipeline.schedule(config.sampling.sampler, config.sampling.steps)
        self.wordings = (config.style.instruction, *config.style.wordings)
        with torch.no_grad(), self.policy.autocast():
            self._text = pipeline.encode_text(self.wordings)
            size = (config.height, config.width)
            self._style = torch.cat(
                [pipeline.encode_style(_images(image[None]), *size) for image in material.styles]
            )
        # What the scores see of a style image is what the VAE sees of it.
        self._style_frames = np.stack([fit(image, config.width, config.height) for image in material.styles])
        self._style_masks = np.stack([fit(mask, config.width, config.height) for mask in material.style_masks])
        self.done = Progress(step=0)
        self._pairs: Pairs | None = None
        self._stop = False

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        found = checkpoints.load(path)
        self.policy.load(found.specialist)
        checkpoints.set_optimizer_state(self.optimizer, found.optimizer)
        self.done, self._pairs = found.progress, found.pairs

    def specialist(self) -> Specialist:
        """The specialist as it is now."""
        config = self.config
        card = Card(
            style=self.name,
            base=self.base,
            instruction=config.style.instruction,
            scales=config.style.scales,
            steps=config.sampling.steps,
            sampler=config.sampling.sampler,
            lora_rank=config.lora_rank,
            lora_alpha=config.lora_alpha,
            training={
                "steps": self.done.step,
                # The base is on the card already, and paths mean nothing elsewhere.
                "config": config.model_dump(mode="json", exclude={"base": True, "inputs": {"path", "masks"}}),
            },
        )
        weights = {key: value.detach().cpu().clone() for key, value in self.policy.weights().items()}
        return Specialist(card, weights, self.material.styles)

    def run(self) -> Specialist:
        """Train to the config's number of steps, saving after each, and return the specialist.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; a second one stops at once, without saving.
            SimeditError: out of memory, too many pairs without a score, a gradient that is not finite, or
                the folder cannot be written.
        """
        log = Log(self.folder, self.done.step + 1) if self.accelerator.is_main_process else None
        if self.done.step == 0 and self._pairs is None:
            self._save()
        with self._signals(), self._memory():
            for step in range(self.done.step, self.config.steps):
                self.show("step", step, self.config.steps)
                record = self._step(step)
                if log is not None:
                    log.write(record)
                    save_curves(self.folder / "curves.png", log.records)
                self._save()
        self.show("step", self.config.steps, self.config.steps)
        return self.specialist()

    def _step(self, step: int) -> dict[str, Any]:
        config, accelerator = self.config, self.accelerator
        every = draws(
            config.seed,
            step,
            config.samples,
            len(self.material.inputs),
            len(self.wordings),
            len(self.material.styles),
        )
        share = config.samples // accelerator.num_processes
        mine = every[accelerator.process_index * share :][:share]
        seconds = dict.fromkeys(("sample", "score", "reference", "update"), 0.0)

        pairs = self._sample(mine, seconds)
        scores = accelerator.gather(torch.cat([pairs.structural, pairs.semantic], 1).to(accelerator.device))
        scores = torch.as_tensor(scores).cpu()
        structural, semantic = scores[:, :2], scores[:, 2:]
        lost = int((~scores.isfinite().all(1)).sum())
        if lost > DROPPED * config.samples:
            raise SimeditError(
                f"{lost} of {config.samples} pairs of step {step + 1} have no score (NaN or infinite): the edits "
                f"or a score model overflow. Try precision=fp32 or a lower update.learning_rate"
            )
        ranks = total(structural, semantic, alpha=config.scores.alpha, clip=config.scores.clip)
        margins = (ranks[:, 0] - ranks[:, 1]).abs()
        # Where both edits are equally good there is nothing to learn; NaN compares as False.
        useful = margins > 0
        here = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
        winner = ranks.nan_to_num(torch.inf).argmin(1)
        if accelerator.is_main_process:
            self._grid(step, mine, pairs, torch.where(useful, winner, -1)[here], ranks[here])

        noisy = chosen_steps(
            [draw.noise_seed for draw in mine], len(self.schedule.noisy_steps), config.update.timesteps
        )
        started = time.perf_counter()
        if step == 0:
            # Before anything is learned the policy is the reference.
            reference = pairs.log_probs.gather(2, noisy[:, None].expand(-1, 2, -1))
        else:
            reference = reference_log_probs(
                self.policy,
                self._encode,
                pairs,
                noisy,
                self.schedule,
                batch_size=config.sampling.batch_size,
                tick=self._ticks("reference", len(pairs)),
            )
        seconds["reference"] += time.perf_counter() - started
        ranked = Ranked(pairs, winner[here], noisy, reference)
        sums = self._learn(step, ranked, useful, seconds)

        self._pairs = None
        self.done = Progress(step=step + 1)
        terms, updates = max(1, sums["terms"]), max(1, sums["updates"])
        best = winner[useful, None]
        cuda = accelerator.device.type == "cuda"
        return {
            "step": step + 1,
            "structural": _mean(structural[useful]),
            "semantic": _mean(semantic[useful]),
            "structural_winner": _mean(structural[useful].gather(1, best)),
            "semantic_winner": _mean(semantic[useful].gather(1, best)),
            "total_margin": _mean(margins[useful]),
            "loss": sums["loss"] / terms,
            "clamped": sums["clamped"] / terms,
            "gradient_norm": sums["gradient_norm"] / updates,
            "dropped": lost,
            "tied": int(len(useful) - useful.sum()) - lost,
            "pairs": config.samples,
            "updates": int(sums["updates"]),
            "learning_rate": config.update.learning_rate,
            "seconds": seconds,
            "peak_memory": torch.cuda.max_memory_allocated() if cuda else None,
        }

    def _sample(self, mine: list[Draw], seconds: dict[str, float]) -> Pairs:
        """This process's pairs of the step, with their scores; those of an interrupted step come first."""
        parts = [] if self._pairs is None else [self._pairs]
        done = sum(len(part) for part in parts)
        while done < len(mine):
            batch = mine[done : done + self.config.sampling.batch_size]
            parts.append(self._sample_batch(batch, seconds))
            done += len(batch)
            self.show("sample", done, len(mine))
            if self._stop:
                self._pairs = Pairs.cat(parts)
                self._save()
                raise Interrupted
        self._pairs = Pairs.cat(parts)
        return self._pairs

    @torch.no_grad()
    def _sample_batch(self, batch: list[Draw], seconds: dict[str, float]) -> Pairs:
        config, device = self.config, self.policy.device
        started = time.perf_counter()
        found = [self.material.inputs[draw.input] for draw in batch]
        frames = np.stack([frame for frame, _ in found])
        inputs = _images(frames).to(device)
        wording = torch.tensor([draw.wording for draw in batch])
        style = torch.tensor([draw.style for draw in batch])
        with self.policy.autocast():
            image = self.policy.pipeline.encode_images(inputs)
        latents, log_probs = sample_pairs(
            self.policy,
            Encoded(self._text[wording], image, self._style[style]),
            self.schedule,
            [draw.noise_seed for draw in batch],
            getattr(torch, config.sampling.storage),
        )
        edits = self._decode(latents[:, :, -1])
        seconds["sample"] += time.perf_counter() - started

        started = time.perf_counter()
        masks = self.material.masks([draw.input for draw in batch], frames, [mask for _, mask in found])
        targets = Targets(
            inputs=inputs,
            masks=torch.from_numpy(masks).to(device),
            styles=_images(self._style_frames[style]).to(device),
            style_masks=torch.from_numpy(self._style_masks[style]).to(device),
        )
        structural, semantic = (
            score(edits, targets).float().cpu() for score in (self.material.structural, self.material.semantic)
        )
        seconds["score"] += time.perf_counter() - started
        return Pairs(
            latents=latents.cpu(),
            log_probs=log_probs.cpu(),
            image=image.cpu(),
            wording=wording,
            style=style,
            structural=structural,
            semantic=semantic,
        )

    def _learn(
        self, step: int, ranked: Ranked, useful: Tensor, seconds: dict[str, float]
    ) -> dict[str, float]:
        """Update on this process's share of each group of pairs; the gradients of all processes are summed."""
        config, accelerator = self.config.update, self.accelerator
        share, ranks = len(ranked), range(accelerator.num_processes)
        # Pair numbers within each process's share, in an order that all processes know.
        orders = [
            [np.random.default_rng([self.config.seed, step, epoch, rank]).permutation(share) for rank in ranks]
            for epoch in range(config.epochs)
        ]
        size = config.batch_size * config.accumulation
        groups = [
            [torch.from_numpy(order[rank][i : i + size]) for rank in ranks]
            for order in orders
            for i in range(0, share, size)
        ]
        names = ("updates", "terms", "loss", "clamped", "gradient_norm")
        sums = dict.fromkeys(names, 0.0) | self.done.sums
        self.policy.unet.train()
        for i in range(self.done.updates, len(groups)):
            started = time.perf_counter()
            kept = [rows[useful[rank * share + rows]] for rank, rows in enumerate(groups[i])]
            count = sum(len(rows) for rows in kept)
            if count:
                rows = kept[accelerator.process_index]
                part = Ranked(
                    ranked.pairs[rows], ranked.winner[rows], ranked.noisy[rows], ranked.reference[rows]
                )
                found = accumulate(self.policy, self._encode, part, self.schedule, config, total=count)
                norm = self._apply()
                values = torch.tensor([found.terms, found.loss, found.clamped], device=accelerator.device)
                terms, loss, clamped = torch.as_tensor(accelerator.reduce(values)).tolist()
                now = {"updates": 1, "terms": terms, "loss": loss, "clamped": clamped, "gradient_norm": norm}
                sums = {name: sums[name] + now[name] for name in names}
            self.done = replace(self.done, updates=i + 1, sums=sums)
            seconds["update"] += time.perf_counter() - started
            self.show("update", i + 1, len(groups))
            if self._stop:
                self._save()
                raise Interrupted
        self.policy.unet.eval()
        return sums

    def _apply(self) -> float:
        """One optimizer step with the gradients accumulated in all processes; returns their norm."""
        parameters = self.policy.parameters
        for parameter in parameters:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = torch.as_tensor(self.accelerator.reduce(gradient))
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.update.gradient_norm).item()
        if not np.isfinite(norm):
            raise SimeditError(
                f"the gradient is not finite: try precision=fp32 or a lower update.learning_rate, "
                f"and go on from the last checkpoint in {self.folder}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _encode(self, pairs: Pairs) -> Encoded:
        image = pairs.image.to(self.policy.device)
        return Encoded(self._text[pairs.wording], image, self._style[pairs.style])

    def _decode(self, latents: Tensor) -> Tensor:
        """float32 [N, 2, 3, H, W] in 0..1 of final latents [N, 2, 4, h, w]; pairs one by one, to spare memory."""
        config, device = self.config, self.policy.device
        with torch.no_grad(), self.policy.autocast():
            images = [
                self.policy.pipeline.decode(pair.to(device, torch.float32), config.height, config.width)
                for pair in latents
            ]
        return torch.stack(images)

    def _grid(self, step: int, mine: list[Draw], pairs: Pairs, winner: Tensor, ranks: Tensor) -> None:
        rows = np.unique(np.linspace(0, len(mine) - 1, min(GRID_ROWS, len(mine))).round().astype(int))
        chosen = torch.from_numpy(rows)
        edits = self._decode(pairs.latents[chosen][:, :, -1]).nan_to_num(0).cpu()
        labels = [
            f"structural {a[0]:.3f}, {a[1]:.3f}\nsemantic {b[0]:.3f}, {b[1]:.3f}\ntotal {c[0]:.2f}, {c[1]:.2f}"
            for a, b, c in zip(
                pairs.structural[chosen].tolist(),
                pairs.semantic[chosen].tolist(),
                ranks[chosen].tolist(),
                strict=True,
            )
        ]
        save_grid(
            self.folder / f"grid_{step + 1:04d}.png",
            np.stack([self.material.inputs[mine[i].input][0] for i in rows]),
            (edits * 255).round().byte().permute(0, 1, 3, 4, 2).numpy(),
            winner[chosen].numpy(),
            self._style_frames[[mine[i].style for i in rows]],
            labels,
        )

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            state = checkpoints.optimizer_state(self.optimizer)
            found = Checkpoint(self.specialist(), state, self.done, self._pairs)
            checkpoints.save(self.folder / "checkpoints", found, keep=self.config.keep)
        self.accelerator.wait_for_everyone()

    def _ticks(self, phase: str, of: int) -> Callable[[int], None]:
        done = 0

        def tick(pairs: int) -> None:
            nonlocal done
            done += pairs
            self.show(phase, done, of)

        return tick

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for a stop at the next safe point; a second one stops at once."""
        if self.accelerator.num_processes > 1:
            yield  # the processes are at different points; each whole step is saved
            return

        def ask(number: int, _frame: Any) -> None:
            self._stop = True
            for one, handler in before.items():
                signal.signal(one, handler)
            self.show("stopping", 0, 0)

        before = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    @contextlib.contextmanager
    def _memory(self) -> Iterator[None]:
        """Out of memory names the knobs."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            update, sampling = self.config.update, self.config.sampling
            raise SimeditError(
                f"out of memory on {self.policy.device}. Lower sampling.batch_size (now {sampling.batch_size}) or "
                f"update.batch_size (now {update.batch_size}; raise update.accumulation to match), keep "
                f"update.gradient_checkpointing on (now {update.gradient_checkpointing}) and precision=bf16 (now "
                f"{self.config.precision}), or lower width and height. Whole steps are saved"
            ) from error


def _images(frames: np.ndarray) -> Tensor:
    """float32 [N, 3, H, W] in 0..1 of uint8 [N, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2) / 255


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else float("nan")
