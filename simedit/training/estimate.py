"""What a training would cost, before it starts: counts from its config, memory from fake tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from simedit.progress import about
from simedit.settings import Scales
from simedit.training.config import DistilledConfig, TrainConfig, check_counts
from simedit.training.footprint import STABLE_DIFFUSION, Footprint, base_configs, footprint
from simedit.training.speed import Speed

if TYPE_CHECKING:
    from simedit.specialist import Card

TFLOPS = 100.0
"""The sustained speed of one device that `Estimate.hours` takes for granted, 1e12 operations a second."""


@dataclass(frozen=True)
class Phase:
    """U-Net evaluations, each of one branch of one edit, over all processes.

    Attributes:
        each: in a training step, of which the first may need less; in an update of the warm start or the
            distillation; in one of the teacher's edits.
        total: in all of them.
        forwards: the operations of all of them, backward passes included, as a number of forward passes.
    """

    each: int
    total: int
    forwards: int


@dataclass(frozen=True)
class Estimate:
    """The cost of a training.

    Attributes:
        config: the training.
        processes: devices it runs on.
        updates: of the weights, in one training step.
        phases: "sample", "attention", "reference" and "update"; before them "warm start", or "teacher" and
            "distillation". Those that nothing is done in are left out.
        needs: of each device.
        assumed: the base is not at hand, so the sizes are Stable Diffusion 1.5's.
    """

    config: TrainConfig
    processes: int
    updates: int
    phases: dict[str, Phase]
    needs: Footprint
    assumed: bool

    @property
    def hours(self) -> float:
        """The U-Net's hours at `TFLOPS` on each device."""
        return self.seconds(TFLOPS * 1e12) / 3600

    def seconds(self, flops: float) -> float:
        """The U-Net's seconds where each device computes so many operations in one."""
        forwards = sum(phase.forwards for phase in self.phases.values())
        return forwards * self.needs.forward / flops / self.processes

    @property
    def trained_bytes(self) -> int:
        """What is trained, in float32: weights, gradients and AdamW's two moments."""
        return 4 * 4 * self.needs.trained

    @property
    def device_bytes(self) -> int:
        """The peak on each device."""
        needs = self.needs
        return needs.base + self.trained_bytes + max(needs.update, needs.sampling, needs.coding)

    @property
    def trajectory_bytes(self) -> int:
        """Each process's trajectories, in the host's memory."""
        config = self.config
        kept = config.sampling.noisy + 2 if config.objective.trajectories else 1
        return config.samples // self.processes * config.sampling.edits * kept * self.needs.latent


def estimate(config: TrainConfig, processes: int = 1, teacher: Card | None = None) -> Estimate:
    """What the training would cost on this many devices. Takes some seconds; loads and downloads nothing.

    Args:
        teacher: whose edits a distillation learns.

    Raises:
        SimeditError: counts that do not divide, or a base that is a path with no base.
    """
    check_counts(config, processes)
    update, sampling, steps = config.update, config.sampling, config.steps
    work = config.objective.work(sampling.noisy, sampling.edits)
    guided = config.samples * config.style.scales.branches
    learned = guided if config.objective.guided else config.samples
    parts = base_configs(config.base)
    needs = footprint(config, parts or STABLE_DIFFUSION)

    def phase(each: int, steps: int, operations: int, first: int = 0) -> Phase:
        return Phase(each, each * steps + first, round((each * steps + first) * operations / needs.forward))

    phases: dict[str, Phase] = {}
    warm = config.warm_start
    if isinstance(warm, DistilledConfig):
        each = (teacher.scales if teacher else Scales()).branches
        each *= warm.teacher_steps or (teacher.steps if teacher else config.sampling.steps)
        phases["teacher"] = phase(each, warm.edits, needs.forward)
        phases["distillation"] = phase(warm.batch_size, warm.steps, needs.learning)
    elif warm is not None:
        phases["warm start"] = phase(warm.batch_size, warm.steps, needs.learning)
    if steps:
        phases["sample"] = phase(guided * sampling.edits * sampling.steps, steps, needs.forward)
        if (attention := config.scores.attention) is not None:
            looks = config.samples * (1 + sampling.edits) * attention.steps
            phases["attention"] = phase(looks, steps, needs.forward)
        first = learned * work.first
        phases["reference"] = phase(learned * work.reference, steps - 1, needs.forward, first)
        phases["update"] = phase(learned * work.update * update.epochs, steps, needs.learning)
    return Estimate(
        config=config,
        processes=processes,
        updates=config.samples // (update.batch_size * update.accumulation * processes) * update.epochs,
        phases=phases,
        needs=needs,
        assumed=parts is None,
    )


def table(estimate: Estimate, here: Speed) -> RenderableType:
    """The estimate for a terminal; `here` is this machine's speed."""
    config, needs, warm = estimate.config, estimate.needs, estimate.config.warm_start
    work = Table("", box=box.SIMPLE, title="Work (estimated)", title_justify="left")
    for head in ("each time", "in all", "as forward passes"):
        work.add_column(head, justify="right")
    for name, phase in estimate.phases.items():
        work.add_row(name, *(f"{count:,}" for count in (phase.each, phase.total, phase.forwards)))
    totals = (sum(getattr(p, key) for p in estimate.phases.values()) for key in ("total", "forwards"))
    work.add_section()
    work.add_row("U-Net evaluations", "", *(f"{count:,}" for count in totals))

    memory = Table("", box=box.SIMPLE, title="Memory of each device (estimated)", title_justify="left")
    memory.add_column("GB", justify="right")
    edits, branches = config.sampling.edits, config.style.scales.branches
    learned = config.objective.learned(edits) * (branches if config.objective.guided else 1)
    rows = {
        f"the base, {config.precision}": needs.base,
        f"{needs.trained / 1e6:.1f} M trained parameters, gradients, AdamW": estimate.trained_bytes,
        f"one backward pass, U-Net batch {learned * config.update.batch_size}": needs.update,
        f"one step of sampling, U-Net batch {edits * branches * config.sampling.batch_size}": needs.sampling,
        f"the VAE, {config.sampling.batch_size} frames": needs.coding,
    }
    for name, size in rows.items():
        memory.add_row(name, _gigabytes(size))
    memory.add_section()
    memory.add_row("peak: the first two and the largest of the rest", _gigabytes(estimate.device_bytes))
    memory.add_row("host: trajectories of each process", _gigabytes(estimate.trajectory_bytes))

    devices = "1 device" if estimate.processes == 1 else f"{estimate.processes} devices"
    steps = f"{config.sampling.steps} denoising step{'s' * (config.sampling.steps != 1)}"
    lines = []
    if config.steps:
        lines.append(
            f"{config.steps} training steps on {devices}, each of {config.samples} inputs with {edits} edits "
            f"each\nin {steps}, and {estimate.updates} updates."
        )
    if isinstance(warm, DistilledConfig):
        few, many = config.sampling.steps, estimate.phases["teacher"].each
        lines.append(
            f"An edit will take {few} U-Net evaluation{'s' * (few != 1)} in place of {many}. First "
            f"{warm.edits} edits of {many}\nare sampled, then learned from in {warm.steps} updates of "
            f"{warm.batch_size}, on {devices}."
        )
    elif warm is not None and not config.steps:
        lines.append(f"{warm.steps} updates of {warm.batch_size} on {devices}, for edits in {steps}.")
    if estimate.assumed:
        lines.append(f"{config.base} is not on this machine: assumed to be of Stable Diffusion 1.5's size.")
    speed = (
        f"{needs.forward / 1e12:.2g} TFLOP a forward pass:\n"
        f"{about(estimate.seconds(here.flops))} on this machine ({here.device}, {here.flops / 1e12:.2g} "
        f"TFLOP/s measured),\n"
        f"{about(estimate.seconds(TFLOPS * 1e12))} on a GPU that sustains {TFLOPS:g} TFLOP/s\n"
        f"(estimated: the U-Net's work; the scores and the VAE come on top).\n"
    )
    left_out = "Not counted: the scores' models, the frameworks' own memory, work space of kernels."
    return Group("\n".join(lines), "", work, speed, memory, left_out)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g}"
