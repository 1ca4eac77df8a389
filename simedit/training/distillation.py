"""Distillation: a specialist learns to do in few U-Net evaluations what another does in many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from simedit import samplers
from simedit.drafts import whole
from simedit.errors import SimeditError, shortened
from simedit.pipeline import noise
from simedit.specialist import Specialist
from simedit.training.config import TrainConfig
from simedit.training.data import Draw, draws
from simedit.training.policy import Encoded, Policy
from simedit.training.sampler import Material, Sampler

FOLDER = "teacher"
"""Where a run folder has the teacher's edits."""
_OUTSIDE = 0.2
"""What a latent pixel outside the mask weighs; the edit leaves it as it is."""


@dataclass(frozen=True)
class Lesson:
    """Edits of the teacher, and what they were made from; N of them, or one without the first dimension.

    Attributes:
        image: float32 [N, 4, h, w], latents of the input.
        edit: float32 [N, 4, h, w], latents of the teacher's edit.
        shown: float32 [N, 1, h, w], the share of a latent pixel that the mask shows.
    """

    image: Tensor
    edit: Tensor
    shown: Tensor


class Distillation:
    """The loss of one step of distillation: regression on the teacher's edits.

    A guided edit of many steps is sampled once for each of some inputs. The student, which starts as its
    teacher, is given such an edit with the noise that one of its own few steps begins with (of the first
    step, noise alone) and learns to predict the edit, with one U-Net evaluation. So guidance and steps are
    distilled at once; where the teacher's edits differ by their noise the student learns their mean. (The
    edits take the place of data in arXiv 2303.01469's multistep sampling; regression on sampled edits is
    that of arXiv 2101.02388, with noise of its own for each update.)

    Args:
        config: with a distillation, and the style's name filled in.
        policy: what learns; its reference is the teacher.
        sampler: has encoded wordings and style images.
        material: inputs, masks, and the style image that the teacher's edits use.
        teacher: whose card says how it edits.
        folder: the run folder.
        run_id: whose edits there are this training's.
    """

    def __init__(
        self,
        config: TrainConfig,
        policy: Policy,
        sampler: Sampler,
        material: Material,
        teacher: Specialist,
        folder: Path,
        run_id: str,
    ):
        assert config.warm_start is not None
        assert config.warm_start.kind == "distilled"
        self._config, self._policy, self._sampler, self._material = config, policy, sampler, material
        self._card, self._folder, self._id = teacher.card, folder / FOLDER, run_id
        self._count = config.warm_start.batch_size
        counts = len(material.inputs), len(sampler.wordings), len(material.styles)
        self._draws = draws(config.seed, 0, config.warm_start.edits, *counts)
        steps = config.warm_start.teacher_steps or teacher.card.steps
        self._schedule = policy.pipeline.schedule(teacher.card.sampler, steps)
        self._lessons: dict[int, Lesson] = {}

    @property
    def edits(self) -> int:
        """How many of the teacher's edits are learned from."""
        return len(self._draws)

    def prepare(self, numbers: range) -> Iterator[int]:
        """Have the teacher make what is missing of its edits of those numbers; gives how many are there, time
        and again.

        Raises:
            SimeditError: an edit is not finite, or one cannot be written or read.
        """
        missing = [number for number in numbers if not self._there(number)]
        yield len(numbers) - len(missing)
        size = self._config.sampling.batch_size
        for start in range(0, len(missing), size):
            some = missing[start : start + size]
            found = self._taught([self._draws[number] for number in some])
            for i, number in enumerate(some):
                one = {f.name: getattr(found, f.name)[i].cpu().contiguous() for f in fields(Lesson)}
                with whole(self._path(number)) as draft:
                    save_file(one, draft, {"run": self._id})
            yield len(numbers) - len(missing) + start + len(some)

    def loss(self, step: int, rows: range) -> Tensor:
        """The share that the samples `rows` have in a step's loss, which is a mean; it follows from the step
        and the rows alone."""
        policy, schedule = self._policy, self._sampler.schedule
        randoms = [np.random.default_rng([self._config.seed, 5, step, row]) for row in rows]
        numbers = [int(random.integers(len(self._draws))) for random in randoms]
        some = self._read(numbers)
        i = torch.tensor([int(random.integers(len(schedule))) for random in randoms])
        drawn = np.stack([random.standard_normal(some.edit.shape[1:], np.float32) for random in randoms])
        sigma = -schedule.push[i].float().view(-1, 1, 1, 1).to(policy.device)
        begun = (i > 0).view(-1, 1, 1, 1).to(policy.device)
        x = begun * some.edit + sigma * torch.from_numpy(drawn).to(policy.device)
        conditioning = policy.conditioning(self._encoded([self._draws[n] for n in numbers], some.image))
        found = samplers.expected(lambda scaled, t: policy.predict(conditioning, scaled, t), x, i, schedule)
        weight = _OUTSIDE + (1 - _OUTSIDE) * some.shown
        return (weight * (found - some.edit) ** 2).mean((1, 2, 3)).sum() / self._count

    @torch.no_grad()
    def _taught(self, some: list[Draw]) -> Lesson:
        policy, device = self._policy, self._policy.device
        inputs = [self._material.inputs[draw.input] for draw in some]
        frames = np.stack([frame for frame, _ in inputs])
        masks = self._material.masks([draw.input for draw in some], frames, [mask for _, mask in inputs])
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2) / 255
        image = policy.pipeline.encode_images(pixels.to(device))
        generators = [torch.Generator().manual_seed(draw.noise_seed) for draw in some]
        draw = noise(generators, image.shape[1:], device)
        with policy.reference():
            own = policy.conditioning(self._encoded(some, image))
            conditioning = replace(own, scales=[self._card.scales])
            edit = samplers.sample(
                lambda x, t: policy.predict(conditioning, x, t),
                draw() * self._schedule.init_scale,
                self._schedule,
                lambda _step: draw(),
            ).final
        if not edit.isfinite().all():
            raise SimeditError("an edit of the teacher is not finite: give it another base or precision=fp32")
        shown = torch.from_numpy(masks[:, None]).to(device, torch.float32)
        return Lesson(image.float(), edit, adaptive_avg_pool2d(shown, (image.shape[2], image.shape[3])))

    def _encoded(self, some: list[Draw], image: Tensor) -> Encoded:
        wording, style = (torch.tensor([getattr(d, part) for d in some]) for part in ("wording", "style"))
        latents = self._sampler.style(style)
        return Encoded(self._sampler.text(wording), image.to(latents), latents)

    def _read(self, numbers: list[int]) -> Lesson:
        for number in numbers:
            if number not in self._lessons:
                if not self._there(number):
                    raise SimeditError(f"{self._path(number)} is gone: go on once more, and it is made anew")
                with safe_open(self._path(number), "pt", device=str(self._policy.device)) as held:
                    parts = {f.name: held.get_tensor(f.name) for f in fields(Lesson)}
                self._lessons[number] = Lesson(**parts)
        some = [self._lessons[number] for number in numbers]
        return Lesson(*(torch.stack([getattr(one, f.name) for one in some]) for f in fields(Lesson)))

    def _there(self, number: int) -> bool:
        """Whether that edit is there, whole and of this training."""
        path = self._path(number)
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as held:
                names = {field.name for field in fields(Lesson)}
                return held.metadata() == {"run": self._id} and {*held.keys()} == names
        except (OSError, SafetensorError) as error:
            raise SimeditError(f"cannot read {path}, remove it: {shortened(error, 200)}") from error

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.safetensors"


def widened(teacher: Specialist, rank: int, alpha: float) -> Specialist:
    """The same specialist with an adapter of a higher rank, which does the same: what is added multiplies
    zeros.

    Args:
        rank, alpha: of the adapter.

    Raises:
        SimeditError: a lower rank, or an alpha that would weaken or strengthen the adapter.
    """
    card = teacher.card
    more = rank - card.lora_rank
    if more < 0:
        raise SimeditError(f"lora_rank is {rank}, but {card.style}'s is {card.lora_rank}: give that or more")
    if abs(alpha / rank - card.lora_alpha / card.lora_rank) > 1e-6:
        raise SimeditError(
            f"lora_alpha must be {card.lora_alpha / card.lora_rank * rank:g} at lora_rank {rank}, as strong "
            f"as {card.style}'s adapter, got {alpha:g}"
        )
    random, weights = torch.Generator().manual_seed(0), {}
    for key, value in teacher.weights.items():
        if "lora_A" in key:
            spread = value.shape[1] ** -0.5
            new = torch.randn(more, value.shape[1], generator=random) * spread
            value = torch.cat([value, new.to(value)])
        elif "lora_B" in key:
            value = torch.cat([value, value.new_zeros(len(value), more)], 1)
        weights[key] = value
    card = card.model_copy(update={"lora_rank": rank, "lora_alpha": alpha})
    return Specialist(card, weights, teacher.style_images)
